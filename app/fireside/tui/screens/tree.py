"""All branches of a chat, as a tree that is indented only where it branches."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from fireside.conversations.tree import Conversation, Turn
from fireside.tui.screen_text import on_one_line


class Line(NamedTuple):
    """A turn in the tree."""

    turn: Turn
    rail: str
    """The lines before it."""
    is_shown: bool


class TreeScreen(ModalScreen[str | None]):
    """Gives the id of the turn that was chosen."""

    DEFAULT_CSS = """
    TreeScreen {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 100;
            max-width: 100%;
            height: auto;
            max-height: 96%;
            padding: 1 2;
            background: $surface;
            border: round $border;
            border-title-color: $primary;
            border-title-style: bold;
            border-subtitle-color: $faint;
        }
        & OptionList {
            height: auto;
            max-height: 100%;
            padding: 0;
            border: none;
            background: $surface;
            scrollbar-size-vertical: 1;
            &:focus { border: none; background: $surface; background-tint: $surface 0%; }
        }
        &.-short > Vertical { padding: 0 1; max-height: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,t", "dismiss(None)", "Close", id="tree.close"),
        Binding("j", "down", "Down", show=False, id="tree.down"),
        Binding("k", "up", "Up", show=False, id="tree.up"),
    ]

    def __init__(self, conversation: Conversation, current: str) -> None:
        super().__init__()
        self._lines = lines_of(conversation)
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Branches"
            box.border_subtitle = "enter show · esc close"
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self._fill()
        self.query_one(OptionList).focus()

    def on_resize(self) -> None:
        self._fill()

    def _fill(self) -> None:
        options = self.query_one(OptionList)
        before = options.highlighted
        if before is None:
            before = next((at for at, line in enumerate(self._lines) if line.turn.id == self._current), None)
        width = max(16, min(100, self.size.width) - (6 if self.has_class("-short") else 8))
        options.clear_options()
        options.add_options([Option(row(line, width)) for line in self._lines])
        if self._lines:
            options.highlighted = before if before is not None else len(self._lines) - 1

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._lines[event.option_index].turn.id)

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()


def lines_of(conversation: Conversation) -> list[Line]:
    """Every turn, depth first; a turn that is an only child stands below its parent without indentation."""
    shown = {turn.id for turn in conversation.path()}
    found: list[Line] = []
    waiting: list[tuple[Turn, str, str]] = []
    """A turn, the rail before it, and the rail of what is below it."""

    def push(children: list[Turn], rail: str) -> None:
        for turn in reversed(children):
            if len(children) == 1:
                waiting.append((turn, rail, rail))
            else:
                last = turn is children[-1]
                waiting.append((turn, rail + ("└ " if last else "├ "), rail + ("  " if last else "│ ")))

    push(conversation.children(None), "")
    while waiting:
        turn, rail, below = waiting.pop()
        found.append(Line(turn, rail, turn.id in shown))
        push(conversation.children(turn.id), below)
    return found


def row(line: Line, width: int) -> Content:
    is_user = line.turn.role == "user"
    text = on_one_line(line.turn.text[:200]) or "…"
    who = ("› ", "$primary") if is_user else ("· ", "$faint")
    style = ("bold" if is_user else "") if line.is_shown else "$faint"
    content = Content.assemble((line.rail, "$rule"), who, (text, style), ("  ●", "$success") if line.is_shown else "")
    return content.truncate(width, ellipsis=True)
