"""The first start: this machine, one model to begin with, and what else there is. Nothing is fetched unasked."""

from __future__ import annotations

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from fireside.failure import Failure
from fireside.tui.engine import Engine
from fireside.tui.model_rows import (
    REFERENCE_RATE,
    ModelRow,
    assessed,
    fetchable,
    installed,
    machine_words,
    memory_words,
    offers,
    rate_words,
)
from fireside.tui.screen_text import on_one_line
from fireside.tui.screens.models import ModelChosen
from fireside.tui.screens.panel import ListPanel
from fireside.wording import duration, size

OTHERS = "Other models, and how they would run here"


class FirstRun(ListPanel[ModelChosen | None]):
    """Gives what was chosen; an empty name opens the list of all models, None goes on with what is here."""

    DEFAULT_CSS = """
    FirstRun {
        & > .panel { width: 84; }
        & .about { margin: 0 0 1 0; }
        & .said { color: $faint; margin: 1 0 0 0; }
        &.-short .said { display: none; }
        &.-short .about { margin: 0; }
    }
    """
    WIDTH = 84

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._machine = ""
        self._problem = ""
        self._rows: list[ModelRow] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as box:
            box.border_title = "Welcome to fireside"
            box.border_subtitle = "enter choose · esc later"
            yield Static(classes="about", markup=False)
            yield OptionList(markup=False)
            yield Static(classes="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self._show()
        self._load()

    def on_resize(self) -> None:
        self._show()

    @work(exclusive=True)
    async def _load(self) -> None:
        try:
            await self._engine.connect()
            here = installed(await self._engine.models())
            self._rows = offers(here)
            self._show()
            downloads = await self._engine.downloads()
            self._machine = machine_words(downloads.get("machine") or {})
            away = fetchable(downloads)
            self._rows = offers([*here, *away])
            self._show(highlighted=0)
            self._rows = offers([*assessed(here, await self._engine.fit({"model": ""})), *away])
            self._show(highlighted=0)
        except Failure as failure:
            self._problem = f"{failure.message} {failure.hint}".strip()
            self._show()

    def choose(self, index: int) -> None:
        if index >= len(self._rows):
            self.dismiss(ModelChosen(""))
            return
        row = self._rows[index]
        self.dismiss(ModelChosen(row.name if row.here else row.target, fetch=not row.here, quant=row.quant))

    def _show(self, highlighted: int | None = None) -> None:
        width = self.room
        about = [Content("Models run on this machine, and nothing you write leaves it.")]
        about.append(Content.styled(self._problem or self._machine or "Looking at this machine…", "$faint"))
        self.query_one(".about", Static).update(Content("\n").join(about))
        short = self.has_class("-short")
        rows = [offer(row, width, at == 0, short) for at, row in enumerate(self._rows)]
        self.fill([*rows, Content.styled(OTHERS, "$faint").truncate(width, ellipsis=True)], highlighted)
        waits = any(not row.here for row in self._rows)
        self.query_one(".said", Static).update("You can write while a model is fetched." if waits else "")


def offer(row: ModelRow, width: int, is_first: bool, short: bool) -> Content:
    """What choosing a row does, and what it takes, in two lines; in one where there is no room."""
    name = on_one_line(row.name)
    if row.store:
        title = f"Use {name} from {row.store}, where it lies"
    elif row.here:
        title = f"Use {name}, which is here"
    else:
        title = f"Fetch {name}"
    facts = [f"{size(row.size)}" if row.size else "", row.quant]
    if not row.here and row.size:
        facts.append(f"{duration(row.size / REFERENCE_RATE)} at 100 Mbit/s")
    if memory := memory_words(row):
        facts.append(f"takes {memory}")
    if speed := rate_words(row):
        facts.append(f"{speed} tok/s")
    said = " · ".join(fact for fact in facts if fact)
    head = Content.assemble(
        (title, "bold $primary" if is_first else "bold"), ("  proposed" if is_first else "", "$accent")
    )
    if short:
        return Content.assemble(head, "  ", (said, "$faint")).truncate(width, ellipsis=True)
    about = Content.styled(f"  {said}", "$faint").truncate(width, ellipsis=True)
    lines = [head.truncate(width, ellipsis=True), about]
    if row.why and not row.here:
        lines.append(
            Content.styled(f"  {on_one_line(row.why.partition('. ')[0])}.", "$faint").truncate(width, ellipsis=True)
        )
    return Content("\n").join(lines)
