"""`/tint` shows what was drafted and accepted, and is remembered; `/draft` and `--draft` choose who drafts."""

from __future__ import annotations

import pytest
from textual.widgets import Static
from tui_driver import Driver, drive
from tui_fake import FakeEngine, Script

from fireside import app_settings
from fireside.tui.widgets.message import AnswerMessage
from fireside.tui.widgets.stream_markdown import StreamMarkdown

TEXT = "Some **bold** text that was drafted."


def shown(ui: Driver) -> list[tuple[bool, list[str]]]:
    """Of each answer: whether it is shown as usual, and what is tinted of it."""
    found = []
    for message in ui.chat.query(AnswerMessage):
        tinted = [static for static in message.query(".tinted").results(Static) if static.display]
        spans = [(s.start, s.end) for static in tinted for s in static.render().spans]  # type: ignore[union-attr]
        found.append((message.query_one(StreamMarkdown).display, [TEXT[start:end] for start, end in spans]))
    return found


def test_accepted_text_is_tinted_and_the_choice_is_remembered() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask()
        assert ui.engine.bodies[-1]["fireside"]["draft_runs"] is True
        assert shown(ui) == [(True, [])]
        await ui.send("/tint")
        await ui.until(lambda: shown(ui) == [(False, ["Some", "text that was drafted"])])
        await ui.ask("And now?")
        await ui.until(lambda: shown(ui) == [(False, ["Some", "text that was drafted"])] * 2)
        await ui.until(lambda: app_settings.load().tint)
        await ui.send("/tint")
        await ui.until(lambda: shown(ui) == [(True, [])] * 2)
        await ui.until(lambda: not app_settings.load().tint)

    drive(FakeEngine(scripts=[Script(TEXT, runs=((0, 4), (14, 21)))]), scenario)


def test_an_answer_without_drafts_stays_as_it_is() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask()
        await ui.send("/tint")
        await ui.until(lambda: app_settings.load().tint)
        assert shown(ui) == [(True, [])]

    drive(FakeEngine(), scenario)


@pytest.mark.parametrize(("line", "sent"), [("/draft small", {"draft": "small"}), ("/draft off", {"speculate": False})])
def test_who_drafts_is_part_of_the_next_request(line: str, sent: dict[str, object]) -> None:
    async def scenario(ui: Driver) -> None:
        await ui.send(line)
        await ui.pilot.pause()
        await ui.ask()
        asked = ui.engine.bodies[-1]["fireside"]
        assert {name: asked.get(name) for name in sent} == sent

    drive(FakeEngine(), scenario)
