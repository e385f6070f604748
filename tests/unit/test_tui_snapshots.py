"""Screens as pictures, compared with those that were looked at.

`FIRESIDE_SNAPSHOTS=write pytest tests/unit/test_tui_snapshots.py` draws them anew. Their text is compared always, their
colours and shapes where the version of Textual is the one that drew them.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import textual
from test_tui_models import MACHINE, download, fit_row, fitted
from textual.app import App
from tui_driver import Driver
from tui_fake import NAME, FakeEngine, Script

from fireside import table
from fireside.account import Account
from fireside.app_settings import AppSettings
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.prompt import Material
from fireside.tui.app import FiresideApp
from fireside.tui.screens.first_run import FirstRun
from fireside.tui.start import Start
from fireside.tui.widgets.transcript_view import TranscriptView

FOLDER = Path(__file__).parents[1] / "snapshots"
WRITES = os.environ.get("FIRESIDE_SNAPSHOTS") == "write"
ANSWER = """\
The borrow of `v` lives until its **last use**, so the push happens while it is still *borrowed*.

```rust
let first = v[0]; // copied
v.push(4);
```

- `Copy` types are copied
- everything else is cloned"""
EXPORTERS_OWN = "#c5c8c6"
"""Text without a style, in pictures of Rich."""
Show = Callable[[Driver], Awaitable[None]]


def _account(**values: object) -> Account:
    return Account(model=NAME, rate=41.8, exact=True, **values)  # type: ignore[arg-type]


def fill() -> None:
    """A few chats on disk; the newest one has a branch and a file."""
    store = Store()
    for at, (question, answer) in enumerate(
        (("SQL for churn", "select 1"), ("Letter to the landlord", "Dear Ms Winter"))
    ):
        chat = Conversation(id=f"chat{at}")
        chat.ask(question)
        chat.answer(answer, model=NAME, account=_account(generated=9))
        store.save(chat, chat.turns.values())
    chat = Conversation(id="borrow")
    question = chat.ask("Why does this borrow fail?")
    chat.answer("Because it is used later.", model=NAME, account=_account(cached=12, prefilled=300, generated=20))
    chat.go_back(question.id)
    chat.answer(ANSWER, model=NAME, account=_account(cached=12, prefilled=300, read_rate=60.0, generated=57))
    chat.ask("And if I clone it first?", [Material("src/main.rs", "fn main() {}\n" * 200)])
    account = _account(
        cached=1024, cached_disk=900, cached_ram=124, prefilled=90, read_rate=60.0, generated=12, drafted=8, accepted=6
    )
    chat.answer("Then nothing is borrowed.", model=NAME, account=account)
    store.save(chat, chat.turns.values())
    store.close()


async def opened(ui: Driver) -> None:
    await ui.until(lambda: len(ui.messages) == 4)


async def searched(ui: Driver) -> None:
    await opened(ui)
    await ui.send("/search borrow")
    await ui.until(lambda: len(getattr(ui.pilot.app.screen, "_rows", [])) == 3)
    await ui.pilot.pause(0.3)


async def reading(ui: Driver) -> None:
    await opened(ui)
    await ui.send("And if I move it?")
    await ui.until(lambda: ui.engine.bodies)
    await ui.pilot.pause(0.3)


async def branches(ui: Driver) -> None:
    await opened(ui)
    await ui.send("/tree")
    await ui.pilot.pause(0.3)


async def helped(ui: Driver) -> None:
    await opened(ui)
    await ui.pilot.press("f1")
    await ui.pilot.pause(0.2)


async def choosing(ui: Driver) -> None:
    await opened(ui)
    await ui.pilot.press("ctrl+o")
    await ui.until(lambda: getattr(ui.pilot.app.screen, "_away", []))
    await ui.pilot.pause(0.3)


async def welcomed(ui: Driver) -> None:
    await opened(ui)
    ui.pilot.app.push_screen(FirstRun(ui.engine))
    await ui.until(lambda: len(getattr(ui.pilot.app.screen, "_rows", [])) == 3)
    await ui.pilot.pause(0.3)


SHOWN: list[tuple[str, tuple[int, int], str, Show]] = [
    ("chat-120x40", (120, 40), "", opened),
    ("chat-80x24", (80, 24), "", opened),
    ("chat-40x12", (40, 12), "", opened),
    ("chat-light", (80, 24), "fireside-light", opened),
    ("search-120x40", (120, 40), "", searched),
    ("search-40x12", (40, 12), "", searched),
    ("reading-80x24", (80, 24), "", reading),
    ("branches-80x24", (80, 24), "", branches),
    ("help-80x24", (80, 24), "", helped),
    ("models-120x40", (120, 40), "", choosing),
    ("models-80x24", (80, 24), "", choosing),
    ("models-40x12", (40, 12), "", choosing),
    ("first-run-80x24", (80, 24), "", welcomed),
    ("first-run-40x12", (40, 12), "", welcomed),
    ("first-run-light", (80, 24), "fireside-light", welcomed),
]


@pytest.mark.parametrize(("name", "size", "theme", "show"), SHOWN, ids=[shown[0] for shown in SHOWN])
def test_a_screen_is_the_one_that_was_looked_at(
    name: str, size: tuple[int, int], theme: str, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(name, draw(size, theme, show, monkeypatch))


def test_without_colours_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    # Decided when the module is imported, by the same variable.
    monkeypatch.setattr(TranscriptView, "BLANK", False)
    picture = draw((80, 24), "", opened, monkeypatch)
    check("chat-no-color", picture)
    # The frame around the picture has coloured buttons of its own.
    styles = re.findall(r"\.terminal-r\d+ \{[^}]*\}|<rect fill=\"#[0-9a-f]{6}\" x", picture)
    colours = set(re.findall(r"#[0-9a-f]{6}", " ".join(styles))) - {EXPORTERS_OWN}
    assert colours
    assert all(len({colour[1:3], colour[3:5], colour[5:7]}) == 1 for colour in colours), colours


def draw(size: tuple[int, int], theme: str, show: Show, monkeypatch: pytest.MonkeyPatch) -> str:
    """The screen as SVG, without what differs from run to run."""
    monkeypatch.setattr(table, "ago", lambda _seconds: "2 min ago")
    for module in ("fireside.tui.screens.chats", "fireside.tui.widgets.welcome"):
        monkeypatch.setattr(f"{module}.ago", lambda _seconds: "2 min ago")
    fill()
    picture = ""

    async def main() -> None:
        nonlocal picture
        hold = asyncio.Event()
        engine = FakeEngine([Script("", prompt=(4096, 2048), prefill_steps=1, hold=hold)])
        engine.fit_answer = fitted(
            fit_row(NAME, "Q4_1", picked=True), fit_row("qwen2.5-coder-1.5b", "Q4_K_M", fits=False)
        )
        engine.downloads_answer = {
            "machine": MACHINE,
            "proposed": ["small-2b", "large-4b"],
            "models": [download("large-4b", 2_400_000_000), download("small-2b"), download("huge-30b", 18_000_000_000)],
        }
        app: App[int] = FiresideApp(engine, Start(resume="borrow"), settings=AppSettings(theme=theme))
        async with app.run_test(size=size) as pilot:
            ui = Driver(pilot, engine)
            ui.prompt.cursor_blink = False
            await ui.ready()
            await show(ui)
            await pilot.pause(0.1)
            picture = app.export_screenshot(title="fireside")

    asyncio.run(main())
    return re.sub(r"terminal-\d+", "terminal", re.sub(r"@font-face\s*\{[^}]*\}", "", picture))


def check(name: str, picture: str) -> None:
    file = FOLDER / f"{name}.svg"
    marked = f"{picture.rstrip()}\n<!-- textual {textual.__version__} -->\n"
    if WRITES:
        file.write_text(marked, encoding="utf-8")
    known = file.read_text(encoding="utf-8")
    assert words(picture) == words(known)
    if known.endswith(f"<!-- textual {textual.__version__} -->\n"):
        assert marked == known, f"{name} looks different; look at it, then write it anew"


def words(picture: str) -> list[str]:
    """The text of a picture, piece by piece."""
    return [html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)]
