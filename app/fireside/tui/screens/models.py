"""Which model answers next: what is here and what could be fetched, how each would run on this machine, and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from fireside.failure import Failure
from fireside.tui.engine import Engine
from fireside.tui.fetching import Fetching
from fireside.tui.model_rows import (
    ModelRow,
    assessed,
    fetchable,
    installed,
    machine_words,
    quantizations,
)
from fireside.tui.model_table import heading, line
from fireside.tui.screen_text import on_screen
from fireside.tui.screens.panel import ListPanel
from fireside.wire import JsonObject

Peek = Callable[[str], Awaitable[JsonObject]]
"""What the hub says of a model that is not here, as `/fireside/fit` wants it. Raises Failure."""
FETCH_TICK = 0.5
"""Seconds between two looks at a download."""


class ModelChosen(NamedTuple):
    """What the user decided."""

    name: str
    fetch: bool = False
    """It is to be fetched, and used then."""
    quant: str = ""


class ModelPicker(ListPanel[ModelChosen | None]):
    """Gives what was chosen. Opens at once; numbers come when the engine has them."""

    DEFAULT_CSS = """
    ModelPicker {
        & > .panel { width: 116; }
        & .columns { color: $faint; height: 1; }
        & .why { color: $faint; height: auto; max-height: 5; margin: 1 0 0 0; }
        & .fetch { height: 1; display: none; }
        &.-fetching .fetch { display: block; }
        &.-short .why { display: none; }
        &.-empty .columns { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+x", "stop_fetching", "Stop the download; what came stays", id="models.stop", priority=True),
    ]
    WIDTH = 116

    def __init__(self, engine: Engine, current: str, fetching: Fetching, peek: Peek) -> None:
        super().__init__()
        self._engine = engine
        self._current = current
        self._fetching = fetching
        self._peek = peek
        self._here: list[ModelRow] = []
        self._away: list[ModelRow] = []
        self._of_repository: list[ModelRow] = []
        """The quantizations of the model that is looked at; while there are some, nothing else is listed."""
        self._shown: list[ModelRow] = []
        self._machine = ""
        self._busy = "looking at models and machine…"
        self._is_moved = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as box:
            box.border_title = "Models"
            yield Input(placeholder="filter", select_on_focus=False)
            yield Static(classes="columns", markup=False)
            yield OptionList(markup=False)
            yield Static("", classes="nothing", markup=False)
            yield Static(classes="why", markup=False)
            yield Static(classes="fetch", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self.set_interval(FETCH_TICK, self._show_fetch)
        self._show_fetch()
        self._fill()
        self._load()

    def on_resize(self) -> None:
        self._fill()

    @work(group="models", exclusive=True)
    async def _load(self) -> None:
        """What is here, then how it would run, then what could be fetched: the slower, the later."""
        try:
            await self._engine.connect()
            self._here = installed(await self._engine.models())
            self._fill()
            found = await self._engine.fit({"model": ""})
            self._machine = machine_words(found.get("machine") or {})
            self._here = assessed(self._here, found)
            self._fill()
            self._away = fetchable(await self._engine.downloads())
            self._busy = ""
        except Failure as failure:
            self._busy = f"{failure.message} {failure.hint}".strip()
        self._fill()

    @on(Input.Changed)
    def _filter_changed(self) -> None:
        self._is_moved = False
        self._fill()

    def action_move(self, step: int) -> None:
        self._is_moved = True
        super().action_move(step)

    def action_close(self) -> None:
        if not self._of_repository:
            self.dismiss(None)
            return
        self._of_repository, self._busy = [], ""
        self._fill()

    def choose(self, index: int) -> None:
        if index >= len(self._shown):
            return
        row = self._shown[index]
        if row.here:
            self.dismiss(ModelChosen(row.name))
        elif self._of_repository:
            self._fetch(row)
        else:
            self._look_at_hub(row)

    def _fetch(self, row: ModelRow) -> None:
        if self._fetching.view is not None:
            self.notify("One at a time: ctrl+x stops the download.", markup=False)
            return
        self.dismiss(ModelChosen(row.target, fetch=True, quant=row.quant))

    @work(group="hub", exclusive=True)
    async def _look_at_hub(self, row: ModelRow) -> None:
        """Its quantizations, with numbers from its header: some MiB instead of all of it."""
        self._busy = f"asking the hub about {row.target}…"
        self._fill()
        try:
            peeked = await self._peek(row.target)
            found = await self._engine.fit(peeked)
        except Failure as failure:
            self._busy = f"{failure.message} {failure.hint}".strip()
        else:
            self._of_repository = quantizations(found, row.target, peeked["files"])
            self._busy = "" if self._of_repository else "The hub has no quantization of it."
            self._is_moved = False
        self._fill()

    def action_stop_fetching(self) -> None:
        if not self._fetching.cancel():
            self.notify("Nothing is fetched.", markup=False)

    # --- what is shown

    def _fill(self) -> None:
        words = self.query_one(Input).value.lower().split()
        rows = self._of_repository or [*self._here, *self._away]
        self._shown = [row for row in rows if all(word in f"{row.name} {row.quant}".lower() for word in words)]
        width = self.room
        # The list takes what frame, filter, heading and reasons leave.
        beside = 5 if self.has_class("-short") else 15
        self.query_one(OptionList).styles.max_height = max(3, self.size.height - beside)
        self.query_one(".columns", Static).update(heading(width))
        self.fill([line(row, width, is_current=self._is_current(row)) for row in self._shown], self._first())
        self.query_one(".nothing", Static).update("No model of that name." if rows else "")
        box = self.query_one(".panel", Vertical)
        box.border_subtitle = "enter fetch · esc back" if self._of_repository else "enter use or fetch · esc close"
        self._show_why()

    def _first(self) -> int | None:
        """The row to stand at; None where the user has moved."""
        if self._is_moved or not self._shown:
            return None
        marked = [at for at, row in enumerate(self._shown) if (row.picked if self._of_repository else False)]
        current = [at for at, row in enumerate(self._shown) if self._is_current(row)]
        proposed = [at for at, row in enumerate(self._shown) if row.proposed == 1 and not self._here]
        return next(iter([*marked, *current, *proposed]), 0)

    def _is_current(self, row: ModelRow) -> bool:
        return row.here and row.name.lower() == self._current.lower()

    @on(OptionList.OptionHighlighted)
    def _show_why(self) -> None:
        index = self.index
        row = self._shown[index] if index is not None and index < len(self._shown) else None
        parts: list[str] = []
        if row is not None:
            parts = [f"Kept by {row.store}, used where it lies." if row.store else "", row.why]
        said = " ".join(part for part in parts if part)
        lines = [text for text in (said, self._busy or self._machine) if text]
        self.query_one(".why", Static).update(Content(on_screen("\n".join(lines))))

    def _show_fetch(self) -> None:
        view = self._fetching.view
        self.set_class(view is not None, "-fetching")
        if view is not None:
            rest = " · ctrl+x stops"
            shown = view.line(max(20, self.room - len(rest)))
            self.query_one(".fetch", Static).update(Content.assemble(shown, (rest, "$faint")))
