"""Questions and answers in the terminal app, against a stand-in for the engine."""

from __future__ import annotations

import asyncio

from tui_driver import Driver, drive
from tui_fake import FakeEngine, Script, failure

from fireside.tui.drafts import Draft
from fireside.tui.status_line import Phase
from fireside.tui.widgets.message import Notice, UserMessage, WhyLine
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.stream_markdown import StreamMarkdown
from fireside.tui.widgets.transcript_view import MOST_MOUNTED
from fireside.tui.widgets.welcome import Welcome


def test_a_question_is_answered_and_accounted_for() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.ask("Why?")
        assert ui.messages == ["you: Why?", "model: Because *so*."]
        assert "1,024 from cache + 31 read" in ui.text(WhyLine)
        assert "exact" in ui.text(WhyLine)
        view = ui.chat.state.view()
        assert (view.cached, view.rate, view.n_ctx) == (1024, 41.8, 8192)
        assert view.used == 1024 + 31 + 3
        assert ui.path == [("user", "Why?"), ("assistant", "Because *so*.")]
        await ui.ask("And?")
        assert [message["content"] for message in ui.engine.bodies[1]["messages"]] == ["Why?", "Because *so*.", "And?"]

    drive(FakeEngine([Script("Because *so*.", prompt=(1055, 1024))]), scenario)


def test_the_prompt_works_before_the_engine_does() -> None:
    gate = asyncio.Event()

    async def scenario(ui: Driver) -> None:
        await ui.send("early")
        await ui.pilot.pause(0.05)
        assert ui.messages == ["you: early", "model: "]
        assert ui.chat.state.view().phase is Phase.STARTING
        gate.set()
        await ui.until(lambda: ui.messages == ["you: early", "model: Hello."])

    drive(FakeEngine(connect_gate=gate), scenario)


def test_stages_are_shown_while_waiting() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("Hi")
        await ui.until(lambda: ui.engine.bodies and ui.chat.state.view().phase is Phase.READING)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None)

    drive(FakeEngine([Script("", loading=2, prompt=(4096, 2048), prefill_steps=3, hold=asyncio.Event())]), scenario)


def test_a_stopped_answer_stays_and_is_read_by_the_next() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("Tell")
        await ui.until(lambda: "model: Half a story" in ui.messages)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None)
        assert ui.engine.closed == 1
        assert "stopped by you" in ui.text(WhyLine)
        assert ui.path == [("user", "Tell"), ("assistant", "Half a story")]
        assert ui.prompt.text == ""

    drive(FakeEngine([Script("Half a story", hold=asyncio.Event())]), scenario)


def test_stopped_before_the_first_word_it_was_never_asked() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("Oops")
        await ui.until(lambda: ui.engine.bodies)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None and ui.prompt.text)
        assert (ui.messages, ui.path, ui.prompt.text) == ([], [], "Oops")

    drive(FakeEngine([Script("", hold=asyncio.Event())]), scenario)


def test_an_error_in_the_middle_loses_nothing() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.ask("Go [on]")
        assert ui.messages == ["you: Go [on]", "model: Partial"]
        assert "The model process died." in ui.text(Notice)
        assert "The next message starts it again." in ui.text(Notice)
        assert ui.prompt.text == "Go [on]"
        assert ui.path == []
        assert ui.chat._answering.shown_text == "Partial"
        await ui.pilot.press("enter")
        await ui.until(lambda: "model: Whole." in ui.messages)
        assert ui.path == [("user", "Go [on]"), ("assistant", "Whole.")]
        assert len(ui.engine.bodies[1]["messages"]) == 1

    drive(FakeEngine([Script("Partial", failure=failure()), Script("Whole.")]), scenario)


def test_an_error_before_the_first_word_leaves_a_notice() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: "notice: No engine." in "\n".join(ui.messages))
        ui.prompt.insert("and a draft")
        await ui.pilot.press("enter")
        await ui.until(lambda: ui.prompt.text)
        assert ui.prompt.text == "and a draft"
        assert len(ui.messages) == 1
        assert "Your message is back in the prompt." in ui.text(Notice)
        assert ui.chat.state.view().phase is Phase.DOWN
        ui.engine.connect_failure = None
        await ui.pilot.press("enter")
        await ui.until(lambda: "model: Hello." in ui.messages)
        assert ui.chat.state.view().phase is not Phase.DOWN

    drive(FakeEngine(connect_failure=failure("No engine.", "")), scenario)


def test_retry_answers_again_with_another_seed() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.pilot.press(*"/seed", "space", "5", "enter")
        await ui.ask("Q")
        await ui.pilot.press("ctrl+r")
        await ui.until(lambda: ui.messages == ["you: Q", "model: second"])
        assert ui.engine.bodies[0]["seed"] == 5
        assert ui.engine.bodies[1]["seed"] != 5
        assert ui.engine.bodies[0]["messages"] == ui.engine.bodies[1]["messages"]
        assert ui.path == [("user", "Q"), ("assistant", "second")]
        await ui.pilot.press("ctrl+r")
        await ui.until(lambda: len(ui.engine.bodies) == 3 and ui.chat.state.generation is None)
        await ui.until(lambda: ui.messages[:2] == ["you: Q", "model: second"])
        assert ui.path == [("user", "Q"), ("assistant", "second")]
        assert ui.prompt.text == ""

    scripts = [Script("first"), Script("second"), Script("", failure=failure())]
    drive(FakeEngine(scripts), scenario)


def test_messages_wait_in_a_queue_and_come_back_when_the_answer_is_stopped() -> None:
    hold = asyncio.Event()

    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("first")
        await ui.until(lambda: ui.engine.bodies)
        await ui.send("second")
        await ui.until(lambda: ui.chat.state.view().queued == 1)
        hold.set()
        await ui.until(lambda: ui.messages[2:] == ["you: second", "model: B"])
        await ui.send("third")
        await ui.send("fourth")
        await ui.until(lambda: ui.chat.state.queue == [Draft("fourth")])
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None)
        assert ui.prompt.text == "fourth"
        assert ui.messages[-1] == "model: C"

    scripts = [Script("A", hold=hold), Script("B"), Script("C", hold=asyncio.Event())]
    drive(FakeEngine(scripts), scenario)


def test_two_messages_sent_at_once_are_asked_one_after_the_other() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        for text in ("one", "two"):
            ui.prompt.post_message(Prompt.Sent(text))
        await ui.until(lambda: ui.engine.closed == 2 and not ui.chat._answering.is_busy)
        assert ui.messages == ["you: one", "model: A", "you: two", "model: B"]
        assert ui.path == [("user", "one"), ("assistant", "A"), ("user", "two"), ("assistant", "B")]

    drive(FakeEngine([Script("A"), Script("B")]), scenario)


def test_a_new_chat_right_after_a_message_keeps_nothing_of_it() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        for waits in range(1, 7):
            asking = asyncio.create_task(ui.chat._answering.ask(Draft("old")))
            for _ in range(waits):
                await asyncio.sleep(0)
            await ui.chat.action_new_chat()
            await asking
            await ui.pilot.pause()
            assert (ui.messages, ui.path, ui.prompt.text) == ([], [], "")
            assert list(ui.chat.query(UserMessage)) == []
            assert ui.chat.query_one(Welcome).display
        await ui.ask("new")
        assert ui.messages == ["you: new", "model: A"]
        assert [message["content"] for message in ui.engine.bodies[-1]["messages"]] == ["new"]

    drive(FakeEngine([Script("A")]), scenario)


def test_a_retry_that_breaks_off_shows_the_answer_before_it_again() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("Q")
        await ui.pilot.press("ctrl+r")
        await ui.until(lambda: len(ui.engine.bodies) == 2 and not ui.chat._answering.is_busy)
        assert ui.messages == ["you: Q", "model: half", "model: whole"]
        assert ui.path == [("user", "Q"), ("assistant", "whole")]
        assert ui.chat._answering.shown_text == "whole"
        assert ui.prompt.text == ""

    drive(FakeEngine([Script("whole"), Script("half", failure=failure())]), scenario)


def test_a_new_chat_forgets_and_stops() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("Q")
        ui.engine.scripts = [Script("never ends", hold=asyncio.Event()), Script("fresh")]
        await ui.send("more")
        await ui.until(lambda: "model: never ends" in ui.messages)
        await ui.pilot.press("ctrl+n")
        await ui.until(lambda: ui.chat.state.generation is None)
        assert (ui.messages, ui.path) == ([], [])
        await ui.ask("New")
        assert len(ui.engine.bodies[-1]["messages"]) == 1
        assert ui.messages == ["you: New", "model: fresh"]

    drive(FakeEngine(), scenario)


def test_leaving_in_the_middle_ends_the_engines_work() -> None:
    engine = FakeEngine([Script("text", hold=asyncio.Event())])

    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("go")
        await ui.until(lambda: ui.messages == ["you: go", "model: text"])
        await ui.pilot.press("ctrl+q")

    drive(engine, scenario)
    assert engine.closed == 1


def test_few_messages_are_mounted_and_older_ones_come_back() -> None:
    async def scenario(ui: Driver) -> None:
        for number in range(20):
            await ui.ask(f"q{number}")
        assert len(ui.transcript.mounted) == MOST_MOUNTED
        assert ui.messages[0] == "you: q5"
        await ui.pilot.press("tab", "home")
        await ui.pilot.pause()
        await ui.pilot.press("home")
        await ui.until(lambda: ui.messages[0] == "you: q0")
        await ui.until(lambda: ui.messages[1] == "model: Hello.")
        assert ui.transcript.scroll_y > 0
        await ui.pilot.press("i")
        await ui.ask("last")
        assert len(ui.transcript.mounted) == MOST_MOUNTED

    drive(FakeEngine(), scenario)


def test_the_reader_is_followed_only_at_the_end() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("go")
        await ui.until(lambda: ui.transcript.max_scroll_y > 30 and ui.transcript.at_end)
        await ui.until(lambda: ui.transcript.scroll_y == ui.transcript.max_scroll_y)
        await ui.pilot.press("pageup")
        await ui.until(lambda: not ui.transcript.at_end)
        stream = ui.chat.query_one(StreamMarkdown)
        assert not stream.following
        where, before = ui.transcript.scroll_y, stream.shown
        await ui.until(lambda: len(stream.source) > len(before) + 50)
        assert (ui.transcript.scroll_y, stream.shown) == (where, before)
        await ui.pilot.press("ctrl+end")
        await ui.until(lambda: stream.following and len(stream.shown) > len(before))
        # Where there is nothing below, trying to go there changes nothing.
        await ui.pilot.press("pagedown")
        before = stream.shown
        await ui.until(lambda: len(stream.shown) > len(before))
        await ui.until(lambda: ui.transcript.scroll_y == ui.transcript.max_scroll_y and ui.transcript.at_end)
        # One line up is away, too.
        ui.transcript.scroll_up(animate=False)
        await ui.until(lambda: not ui.transcript.at_end)
        ui.transcript.scroll_end(animate=False)
        await ui.until(lambda: ui.transcript.at_end)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None)
        assert stream.shown == stream.source

    drive(FakeEngine([Script("word and more\n\n" * 900, piece=15)], rate=80), scenario)
