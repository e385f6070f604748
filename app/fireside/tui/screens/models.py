"""Which model answers next: what is installed, how large it is, and what is loaded."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from fireside.tui.engine import Model
from fireside.tui.screen_text import on_one_line
from fireside.wording import short_count, size

NOTHING = "No model is installed. Put a .gguf file into the models folder, or start with `fireside chat FILE.gguf`."


class ModelPicker(ModalScreen[str | None]):
    """Gives the name of the chosen model, or None."""

    DEFAULT_CSS = """
    ModelPicker {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 74;
            max-width: 100%;
            height: auto;
            max-height: 90%;
            padding: 1 2;
            background: $surface;
            border: round $border;
            border-title-color: $primary;
            border-title-style: bold;
            border-subtitle-color: $faint;
        }
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
            max-height: 16;
            padding: 0;
            border: none;
            background: $surface;
            scrollbar-size-vertical: 1;
            &:focus { border: none; }
        }
        & .columns { color: $faint; height: 1; }
        & .nothing { color: $faint; display: none; }
        &.-short > Vertical { padding: 0 1; max-height: 100%; }
        &.-short Input { margin: 0; }
        &.-empty .nothing { display: block; }
        &.-empty OptionList { display: none; }
        &.-empty .columns { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="models.close"),
        Binding("up", "move(-1)", "Up", id="models.up", priority=True, show=False),
        Binding("down", "move(1)", "Down", id="models.down", priority=True, show=False),
        Binding("enter", "choose", "Use for the next message", id="models.choose", priority=True),
    ]

    def __init__(self, models: list[Model], current: str) -> None:
        super().__init__()
        self._models = sorted(models, key=lambda model: (not model.loaded, model.name.lower()))
        self._shown: list[Model] = []
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Models"
            box.border_subtitle = "enter use · esc close"
            yield Input(placeholder="filter", select_on_focus=False)
            yield Static(classes="columns", markup=False)
            yield OptionList(markup=False)
            yield Static(NOTHING if not self._models else "No model of that name.", classes="nothing", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._fill("")

    def on_resize(self) -> None:
        self._fill(self.query_one(Input).value)

    @on(Input.Changed)
    def _filter_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    @on(OptionList.OptionSelected)
    def _option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].name)

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if step < 0:
            options.action_cursor_up()
        else:
            options.action_cursor_down()

    def action_choose(self) -> None:
        index = self.query_one(OptionList).highlighted
        if index is not None and index < len(self._shown):
            self.dismiss(self._shown[index].name)

    def _fill(self, wanted: str) -> None:
        words = wanted.lower().split()
        self._shown = [model for model in self._models if all(word in model.name.lower() for word in words)]
        width = max(20, min(74, self.size.width) - (4 if self.has_class("-short") else 6))
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(row(model, width, model.name == self._current)) for model in self._shown])
        if self._shown:
            names = [model.name for model in self._shown]
            options.highlighted = names.index(self._current) if self._current in names else 0
        self.query_one(".columns", Static).update(heading(width))
        self.set_class(not self._shown, "-empty")


def row(model: Model, width: int, is_current: bool) -> Content:
    """One model: name, size, context, whether it is loaded. Unknown numbers stay blank."""
    name = on_one_line(model.name)
    room = _name_width(width)
    title = Content.styled(name, "bold $primary" if is_current else "")
    title = title.truncate(room, ellipsis=True, pad=True)
    cells: list[Content | str] = [title, f"{size(model.size) if model.size else '':>8}"]
    if width >= 44:
        cells.append(f"  {short_count(model.n_ctx) if model.n_ctx else '':>9}")
    mark = ("● loaded" if width >= 44 else "●", "$success") if model.loaded else ("", "")
    return Content.assemble(*cells, "  ", mark)


def heading(width: int) -> Content:
    cells = ["model".ljust(_name_width(width)), f"{'size':>8}"]
    if width >= 44:
        cells.append(f"  {'context':>9}")
    return Content("".join(cells))


def _name_width(width: int) -> int:
    return max(8, width - 8 - (11 + 10 if width >= 44 else 3))
