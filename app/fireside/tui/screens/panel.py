"""The frame that all screens over the chat share: a box with a title, a filter line, a list, and keys to move in it."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

Chosen = TypeVar("Chosen")


class Panel(ModalScreen[Chosen]):
    """A box in the middle. Its children stand in a container of the class `panel`."""

    DEFAULT_CSS = """
    Panel {
        align: center middle;
        background: $background 60%;
        & > .panel {
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
            scrollbar-size-vertical: 1;
        }
        & Static { height: auto; }
        & Input {
            border: none;
            height: 1;
            padding: 0;
            margin: 0 0 1 0;
            background: $surface;
            &:focus { background: $surface; border: none; }
        }
        & OptionList {
            height: auto;
            max-height: 1fr;
            padding: 0;
            border: none;
            background: $surface;
            scrollbar-size-vertical: 1;
            &:focus { border: none; background: $surface; background-tint: $surface 0%; }
        }
        & .nothing { color: $faint; display: none; }
        &.-empty .nothing { display: block; }
        &.-short > .panel { padding: 0 1; max-height: 100%; }
        &.-short Input { margin: 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close", id="panel.close")]
    WIDTH = 100
    """Cells, where there are so many; the style sheet has to say the same."""

    @property
    def room(self) -> int:
        """Cells inside the frame, a scroll bar taken off."""
        return max(16, min(self.WIDTH, self.size.width) - (6 if self.has_class("-short") else 8))

    def action_close(self) -> None:
        self.dismiss(None)


class ListPanel(Panel[Chosen]):
    """A panel with one list. Keys move in it wherever the focus is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", id="panel.up", priority=True, show=False),
        Binding("down", "move(1)", "Down", id="panel.down", priority=True, show=False),
        Binding("pageup", "move(-10)", "Page up", id="panel.page_up", priority=True, show=False),
        Binding("pagedown", "move(10)", "Page down", id="panel.page_down", priority=True, show=False),
        Binding("enter", "choose", "Choose", id="panel.choose", priority=True),
    ]

    @property
    def index(self) -> int | None:
        """The row that is highlighted, as the list counts."""
        return self.query_one(OptionList).highlighted

    def fill(self, rows: list[Content], highlighted: int | None) -> None:
        """Show these rows; without a row to highlight, the one at the same place stays."""
        options = self.query_one(OptionList)
        before = options.highlighted or 0
        options.clear_options()
        options.add_options([Option(row) for row in rows])
        if rows:
            options.highlighted = max(0, min(before if highlighted is None else highlighted, len(rows) - 1))
        self.set_class(not rows, "-empty")

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            options.highlighted = max(0, min((options.highlighted or 0) + step, options.option_count - 1))

    def action_choose(self) -> None:
        if (index := self.index) is not None:
            self.choose(index)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.choose(event.option_index)

    def choose(self, index: int) -> None:
        """The user takes a row."""
        raise NotImplementedError
