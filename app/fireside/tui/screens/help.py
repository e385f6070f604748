"""Keys and commands, generated from what is bound and what is defined, so that it cannot be out of date."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingsMap, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from fireside.tui.commands import COMMANDS
from fireside.tui.screens.panel import Panel

KEY_COLUMN = 22
"""Cells for the keys, where there is room."""

Group = tuple[str, list[BindingType]]
"""A title, and bindings as a class declares them."""

_KEY_NAMES = {"pageup": "page up", "pagedown": "page down", "escape": "esc", "up": "↑", "down": "↓"}


class HelpScreen(Panel[None]):
    """All keys by where they work, and all commands."""

    DEFAULT_CSS = """
    HelpScreen > .panel { width: 78; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f1,q", "close", "Close", show=False, id="help.close")]
    WIDTH = 78

    def __init__(self, groups: list[Group]) -> None:
        super().__init__()
        self._groups = groups

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="panel") as box:
            box.border_title = "Help"
            box.border_subtitle = "esc close"
            yield Static(markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def on_resize(self) -> None:
        self.query_one(Static).update(Content("\n").join(help_lines(self._groups, max(20, self.room - 2))))


def help_lines(groups: list[Group], width: int) -> list[Content]:
    """The text of the help for `width` cells."""
    tables = [(title, _bindings(bindings)) for title, bindings in groups]
    tables.append(("Commands", [(command.usage, command.description) for command in COMMANDS]))
    keys = min(KEY_COLUMN, max(12, width // 3))
    lines: list[Content] = []
    for title, rows in tables:
        lines += [Content("")] if lines else []
        lines.append(Content.styled(title, "bold $primary"))
        for key, description in rows:
            left = Content.styled(key, "$accent").wrap(keys)
            right = Content(description).wrap(width - keys - 2)
            for at in range(max(len(left), len(right))):
                cell = left[at] if at < len(left) else Content("")
                padding = " " * (keys - cell.cell_length + 2)
                lines.append(Content.assemble(cell, padding, right[at] if at < len(right) else ""))
    return lines


def _bindings(bindings: list[BindingType]) -> list[tuple[str, str]]:
    rows: dict[str, list[str]] = {}
    for _, binding in BindingsMap(bindings):
        if binding.description:
            rows.setdefault(binding.description, []).append(_KEY_NAMES.get(binding.key, binding.key))
    return [(", ".join(keys), description) for description, keys in rows.items()]
