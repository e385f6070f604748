"""Choosing and fetching models inside the chat: the table of fits, the first run, a download that goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import OptionList
from tui_driver import Driver, drive
from tui_fake import NAME, FakeEngine

from fireside.conversations import desk
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.tui.fetching import FetchView
from fireside.tui.model_rows import ModelRow, assessed, fetchable, installed, offers
from fireside.tui.model_table import heading, line
from fireside.tui.screens.first_run import FirstRun
from fireside.tui.screens.models import ModelPicker
from fireside.tui.start import Start
from fireside.tui.widgets.strips import FetchStrip, QueueStrip

MACHINE = {
    "pools": [{"name": "host", "title": "main memory", "total": 16_000_000_000, "budget": 12_000_000_000}],
    "n_threads": 4,
}


def fit_row(name: str, quant: str, *, fits: bool = True, picked: bool = False) -> dict[str, Any]:
    plan = {"n_ctx": 8192, "tokens_per_second": 41.0, "margin": 0.1, "reason": "It fits."}
    refusal = {"missing": 3_000_000_000, "changes": ["a smaller context", "q8_0 KV"]}
    return {
        "name": name,
        "quant": quant,
        "size": 1_000_000_000,
        "quality": {"band": "good", "kld": 0.1, "measured": False},
        "memory": [{"total": 1_500_000_000}],
        "process": 100_000_000,
        "fits": fits,
        "picked": picked,
        "against": "",
        "plan": plan if fits else None,
        "refusal": None if fits else refusal,
    }


def fitted(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"machine": MACHINE, "models": [{"reason": "The best that fits.", "rows": list(rows), "broken": []}]}


def download(name: str, size: int = 1_200_000_000, **values: Any) -> dict[str, Any]:
    look = {"memory": 2 * size, "tokens_per_second": 12.0, "fits": True}
    return {"name": name, "quant": "Q4_K_M", "size": size, "description": "Good. Really.", "licence": "MIT",
            "confirmed": True, "roles": ["chat"], "installed": False, "outlook": look, **values}  # fmt: skip


def engine(**values: Any) -> FakeEngine:
    made = FakeEngine(**values)
    made.fit_answer = fitted(fit_row(NAME, "Q4_1", picked=True), fit_row("qwen2.5-coder-1.5b", "Q4_K_M", fits=False))
    made.downloads_answer = {
        "machine": MACHINE,
        "proposed": ["small-2b", "large-4b"],
        "models": [download("large-4b", 2_400_000_000), download("small-2b"), download("there", installed=True)],
    }
    return made


class FakePull:
    """A pull that waits for the test."""

    def __init__(self, *, fails: bool = False) -> None:
        self.started: list[tuple[str, str]] = []
        self.cancelled = 0
        self.end = threading.Event()
        self._fails = fails

    def __call__(self, target: str, quant: str) -> FakePull:
        self.started.append((target, quant))
        return self

    def events(self) -> Iterator[dict[str, Any]]:
        yield {"event": "progress", "stage": "fetching", "what": "x", "done": 300, "total": 1000, "rate": 50.0,
               "seconds_left": 14.0, "note": ""}  # fmt: skip
        assert self.end.wait(20)
        if self.cancelled:
            raise Failure("Interrupted.", ExitCode.INTERRUPTED)
        if self._fails:
            raise Failure("The hub does not answer.", ExitCode.FAILED, hint="Try again.")
        yield {"event": "done", "name": "small-2b"}

    def cancel(self) -> None:
        self.cancelled += 1
        self.end.set()


def shown(ui: Driver) -> str:
    """The rows of the list on the screen."""
    options = ui.pilot.app.screen.query(OptionList).first()
    return "\n".join(str(options.get_option_at_index(at).prompt) for at in range(options.option_count))


def test_the_picker_has_the_fit_of_what_is_here_and_what_could_be_fetched() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.pilot.press("ctrl+o")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ModelPicker) and "small-2b" in shown(ui))
        rows = shown(ui).splitlines()
        assert rows[0].startswith(f"› {NAME}")
        for word in ("Q4_1", "98 MB", "good", "8k", "1.6 GB", "41", "fits", "● loaded"):
            assert word in rows[0]
        assert "too large" in rows[1] and "qwen2.5" in rows[1]
        assert rows[2].startswith("› small-2b") and "~12" in rows[2] and "↓ fetch" in rows[2]
        why = ui.pilot.app.screen.query_one(".why")
        assert "The best that fits." in str(why.render())
        assert "main memory" in str(why.render())
        await ui.pilot.press("down")
        await ui.until(lambda: "3.0 GB of memory are missing" in str(why.render()))
        assert "a smaller context; q8_0 KV" in str(why.render())
        await ui.pilot.press("down")
        await ui.until(lambda: "Licence: MIT" in str(why.render()))

    drive(engine(), scenario, size=(120, 40))


def test_a_model_on_the_hub_shows_its_quantizations_and_the_pick_is_fetched_and_used() -> None:
    pull, fake = FakePull(), engine()

    async def scenario(ui: Driver) -> None:
        await ui.ready()
        hub = {
            "header": "/h",
            "files": [{"stem": "small-Q4", "quant": "q4_k_m"}, {"stem": "small-Q8", "quant": "q8_0"}],
        }
        asked: list[str] = []

        async def peek(target: str) -> dict[str, Any]:
            asked.append(target)
            return hub

        ui.chat.models.peek = peek  # type: ignore[method-assign]
        await ui.pilot.press("ctrl+o")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ModelPicker) and "small-2b" in shown(ui))
        assert asked == []
        fake.fit_answer = fitted(fit_row("small-Q8", "Q8_0"), fit_row("small-Q4", "Q4_K_M", picked=True))
        await ui.pilot.press("down", "down", "enter")
        await ui.until(lambda: "small-Q8" in shown(ui))
        assert asked == ["small-2b"]
        assert fake.fits[-1] == hub
        await ui.pilot.press("enter")
        await ui.until(lambda: pull.started == [("small-2b", "q4_k_m")])
        await ui.until(lambda: "300 B of 1 kB" in ui.text(FetchStrip))
        # The chat goes on meanwhile, with the model that is here.
        await ui.ask("Hi")
        assert fake.bodies[-1]["model"] == NAME
        fake.names = (*fake.names, "small-2b")
        pull.end.set()
        await ui.until(lambda: ui.chat.state.model == "small-2b" and not ui.chat.query_one(FetchStrip).display)
        assert "small-2b is here" in ui.toasts

    drive(fake, scenario, size=(120, 40), pull=pull)


def test_without_a_model_messages_wait_for_the_first_one() -> None:
    pull, fake = FakePull(), engine(names=())

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: not ui.chat.state.has_model)
        await ui.send("/pull small-2b:Q4_K_M")
        await ui.until(lambda: ui.chat.state.waits_for_model)
        await ui.send("Are you there?")
        await ui.until(lambda: "Are you there?" in ui.text(QueueStrip))
        assert fake.bodies == []
        fake.names = ("small-2b",)
        pull.end.set()
        await ui.until(lambda: fake.closed == 1 and ui.chat.state.generation is None)
        assert fake.bodies[0]["model"] == "small-2b"
        assert pull.started == [("small-2b", "Q4_K_M")]

    drive(fake, scenario, pull=pull)


@pytest.mark.parametrize("fails", [False, True], ids=["stopped", "failed"])
def test_a_stopped_or_failed_download_gives_back_what_waited(fails: bool) -> None:
    pull = FakePull(fails=fails)

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: not ui.chat.state.has_model)
        await ui.send("/pull small-2b:Q4_K_M")
        await ui.until(lambda: "14 s left" in ui.text(FetchStrip))
        await ui.send("Are you there?")
        await ui.until(lambda: ui.chat.state.queue)
        if fails:
            pull.end.set()
        else:
            await ui.send("/pull stop")
        await ui.until(lambda: ui.prompt.text == "Are you there?")
        assert pull.cancelled == (0 if fails else 1)
        if fails:
            assert any("The hub does not answer." in message for message in ui.messages)
        else:
            assert "kept" in ui.toasts

    drive(engine(names=()), scenario, pull=pull)


def test_the_first_start_offers_one_model_and_is_not_shown_again() -> None:
    pull, fake = FakePull(), engine(names=(NAME,))

    async def first(ui: Driver) -> None:
        await ui.until(lambda: isinstance(ui.pilot.app.screen, FirstRun) and "small-2b" in shown(ui))
        assert shown(ui).startswith("Fetch small-2b  proposed")
        for words in ("1.2 GB", "at 100 Mbit/s", "~12 tok/s", f"Use {NAME}, which is here"):
            assert words in shown(ui)
        await ui.pilot.press("down", "enter")
        await ui.until(lambda: ui.pilot.app.screen is ui.chat)
        await ui.ask("Hi")
        assert fake.bodies[-1]["model"] == NAME
        assert pull.started == []

    drive(fake, first, start=Start(welcomes=True), pull=pull)
    store = Store()
    assert desk.remembered(store, desk.WELCOMED) == "yes"
    store.close()

    async def second(ui: Driver) -> None:
        await ui.ready()
        assert ui.pilot.app.screen is ui.chat

    drive(engine(), second, start=Start(welcomes=True))


def test_files_of_other_programs_are_offered_before_any_download() -> None:
    there = [ModelRow("llama3", source="ollama", fits=True, picked=True), ModelRow("starter", fits=True)]
    away = fetchable({"proposed": ["b"], "models": [download("a"), download("b")]})
    assert [row.name for row in offers([*there, *away])] == ["llama3", "b", "starter"]
    assert [row.name for row in offers(away)] == ["b"]


def test_a_broken_file_says_so() -> None:
    (row, *_) = assessed(
        [*installed([]), ModelRow("bad")],
        {"models": [{"rows": [], "broken": [{"name": "bad", "error": {"message": "No GGUF."}}]}]},
    )
    assert row.fits is False and row.why == "No GGUF."


@given(st.integers(16, 200), st.text(max_size=60), st.text(max_size=12), st.integers(0, 10**14), st.booleans())
def test_a_row_is_one_line_within_its_width(width: int, name: str, quant: str, size: int, here: bool) -> None:
    row = ModelRow(name, here=here, quant=quant, size=size, memory=size, rate=size / 1e9, fits=here, n_ctx=8192)
    drawn = line(row, width)
    assert "\n" not in drawn.plain and "\x1b" not in drawn.plain
    assert drawn.cell_length <= width
    assert heading(width).cell_length <= width


@given(st.integers(1, 200), st.integers(0, 10**13), st.integers(0, 10**13), st.text(max_size=40))
def test_a_download_is_told_in_one_line(width: int, done: int, total: int, target: str) -> None:
    drawn = FetchView(target, "fetching", done, total, 1e6, 12.0).line(width)
    assert drawn.cell_length <= width
    assert "\n" not in drawn.plain
