"""The terminal app, driven by keys against a stand-in for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static
from tui_fake import NAME, FakeEngine, Script, failure

from fireside.tui import clipboard
from fireside.tui.app import FiresideApp
from fireside.tui.screens.chat import ChatScreen
from fireside.tui.screens.help import HelpScreen
from fireside.tui.screens.models import ModelPicker
from fireside.tui.status_line import Phase
from fireside.tui.widgets.blocks import CodeBlock, FlowBlock
from fireside.tui.widgets.message import AnswerMessage, Notice, UserMessage, WhyLine
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.stream_markdown import StreamMarkdown
from fireside.tui.widgets.thought import Thought
from fireside.tui.widgets.transcript_view import MOST_MOUNTED, TranscriptView


class Driver:
    """An app that runs, and what a user sees of it."""

    def __init__(self, pilot: Pilot[int], engine: FakeEngine) -> None:
        self.pilot = pilot
        self.engine = engine
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        self.chat = screen
        self.prompt = screen.query_one(Prompt)
        self.transcript = screen.query_one(TranscriptView)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(2000):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.01)
        raise AssertionError("it never happened")

    async def ready(self) -> None:
        await self.until(lambda: self.chat.state.view().phase is Phase.READY)

    async def send(self, text: str) -> None:
        self.prompt.insert(text)
        await self.pilot.press("enter")

    async def ask(self, text: str = "Hi") -> None:
        """Send, and wait for the end."""
        before = self.engine.closed
        await self.send(text)
        await self.until(lambda: self.engine.closed > before and self.chat.state.generation is None)

    @property
    def messages(self) -> list[str]:
        """The transcript: who, and what."""
        found = []
        for widget in self.transcript.mounted:
            if isinstance(widget, AnswerMessage):
                found.append(f"model: {widget.source.strip()}")
            elif isinstance(widget, UserMessage):
                found.append(f"you: {widget.render()}")
            elif isinstance(widget, Notice):
                found.append(f"notice: {widget.render()}")
        return found

    def text(self, kind: type[Static]) -> str:
        return "\n".join(str(widget.render()) for widget in self.chat.query(kind))

    @property
    def path(self) -> list[tuple[str, str]]:
        return [(turn.role, turn.text) for turn in self.chat.state.conversation.path()]

    @property
    def toasts(self) -> str:
        return "\n".join(toast.message for toast in self.pilot.app._notifications)


def drive(
    engine: FakeEngine,
    scenario: Callable[[Driver], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    model: str = "",
) -> None:
    async def main() -> None:
        async with FiresideApp(engine, model).run_test(size=size) as pilot:
            await scenario(Driver(pilot, engine))

    asyncio.run(main())


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


def test_new_lines_and_sending() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "backslash", "enter", "d")
        assert ui.prompt.text == "a\nb\nc\nd"
        await ui.pilot.press("enter")
        await ui.until(lambda: "you: a\nb\nc\nd" in ui.messages)
        assert ui.prompt.text == ""

    drive(FakeEngine(), scenario)


def test_history_of_the_session() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("one")
        await ui.ask("two\nlines")
        ui.prompt.insert("draft")
        await ui.pilot.press("up")
        assert ui.prompt.text == "two\nlines"
        await ui.pilot.press("up", "up")
        assert ui.prompt.text == "one"
        await ui.pilot.press("down")
        assert ui.prompt.text == "two\nlines"
        await ui.pilot.press("down")
        assert ui.prompt.text == "draft"

    drive(FakeEngine(), scenario)


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
        await ui.until(lambda: ui.chat.state.queue == ["fourth"])
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
        ui.prompt.post_message(Prompt.Sent("old"))
        await ui.pilot.press("ctrl+n")
        await ui.until(lambda: not ui.chat._answering.is_busy and not ui.messages)
        assert (ui.path, ui.prompt.text) == ([], "")
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


def test_the_picker_chooses_the_model_of_the_next_message() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.pilot.press("ctrl+o")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ModelPicker))
        await ui.pilot.press(*"coder", "enter")
        await ui.until(lambda: ui.chat.state.model == "qwen2.5-coder-1.5b")
        await ui.ask()
        assert ui.engine.bodies[-1]["model"] == "qwen2.5-coder-1.5b"
        await ui.pilot.press("ctrl+o")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ModelPicker))
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.pilot.app.screen is ui.chat)

    drive(FakeEngine(), scenario)


def test_a_model_that_is_not_there_is_said() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: "There is no model “smolm2-135m-instruct”" in ui.text(Notice))
        assert f"Did you mean `{NAME}`?" in ui.text(Notice)

    drive(FakeEngine(), scenario, model="smolm2-135m-instruct")


def test_a_model_by_path_is_registered(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.touch()

    async def scenario(ui: Driver) -> None:
        await ui.ready()
        assert ui.engine.registered == [path]
        assert ui.chat.state.model == "mine"
        await ui.send(f"/model {tmp_path}/other.gguf")
        await ui.until(lambda: "No such model file" in ui.text(Notice))
        assert ui.chat.state.model == "mine"

    drive(FakeEngine(), scenario, model=str(path))


def test_without_any_model_it_says_what_to_do() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: "No model is installed." in ui.text(Notice))

    drive(FakeEngine(names=()), scenario)


def test_commands_change_the_next_request() -> None:
    async def scenario(ui: Driver) -> None:
        for line in ("/temp 0", "/seed 9", "/deterministic on", "/system Be [brief].", f"/model {NAME.upper()}"):
            await ui.send(line)
            await ui.pilot.pause()
        await ui.until(lambda: ui.chat.state.settings.model == NAME)
        await ui.ask()
        body = ui.engine.bodies[-1]
        assert (body["temperature"], body["seed"], body["model"]) == (0.0, 9, NAME)
        assert body["fireside"] == {"deterministic": True}
        assert body["messages"][0] == {"role": "system", "content": "Be [brief]."}
        await ui.send("/temp hot")
        await ui.until(lambda: "is a number" in ui.toasts)
        assert ui.prompt.text == "/temp hot"

    drive(FakeEngine(), scenario)


def test_tab_completes_a_command_and_leads_to_the_chat() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.pilot.press("slash", "d", "tab")
        assert ui.prompt.text == "/deterministic "
        ui.prompt.clear()
        await ui.pilot.pause()
        await ui.pilot.press("tab")
        assert ui.transcript.has_focus
        await ui.pilot.press("Z")
        assert ui.prompt.has_focus
        assert ui.prompt.text == "Z"

    drive(FakeEngine(), scenario)


def test_thinking_is_folded_and_not_sent_back() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask()
        (thought,) = ui.chat.query(Thought)
        assert thought.text == "Let me see."
        assert not thought.query_one(".thinking").display
        await ui.pilot.press("ctrl+t")
        assert thought.query_one(".thinking").display
        await ui.ask("again")
        assert [message["content"] for message in ui.engine.bodies[1]["messages"]] == ["Hi", "Yes.", "again"]

    drive(FakeEngine([Script("Yes.", reasoning="Let me see.")]), scenario)


def test_copying_says_what_happened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copied: list[str] = []

    def take(text: str, to_terminal: object, tool: object) -> clipboard.Outcome:
        copied.append(text)
        return clipboard.Outcome.VERIFIED

    monkeypatch.setattr(clipboard, "copy", take)
    monkeypatch.chdir(tmp_path)
    answer = "One:\n\n```py\na\n```\n\ntwo \x1b[31mred\n\n```sh\nb\nc\n```\n"

    async def scenario(ui: Driver) -> None:
        await ui.ask()
        await ui.pilot.press("tab", "c", "c", "c", "y", "w")
        await ui.until(lambda: len(copied) == 4 and list(tmp_path.glob("fireside-*.md")))
        assert copied == ["a\n", "b\nc\n", "a\n", answer.replace("\x1b[31m", "")]
        assert "Copied sh block 2 of 2, 2 lines." in ui.toasts

    drive(FakeEngine([Script(answer)]), scenario)
    assert next(tmp_path.glob("fireside-*.md")).read_text() == copied[-1]


def test_a_selection_is_copied_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    def take(text: str, to_terminal: object, tool: object) -> clipboard.Outcome:
        copied.append(text)
        return clipboard.Outcome.SENT

    monkeypatch.setattr(clipboard, "copy", take)
    words = "words that go on " * 12 + "end"

    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.ask()
        first, code = ui.chat.query(FlowBlock).first(), ui.chat.query_one(CodeBlock)
        await ui.pilot.mouse_down(first, offset=(0, 0))
        await ui.pilot.hover(code, offset=(60, 2))
        await ui.pilot.mouse_up(code, offset=(60, 2))
        await ui.pilot.press("ctrl+c")
        await ui.until(lambda: copied)
        assert copied == [f"{words}\nx = 1\n    y = 2"]
        assert "Sent the selection, 3 lines" in ui.toasts

    drive(FakeEngine([Script(f"{words}\n\n```py\nx = 1\n    y = 2\n```\n")]), scenario)


def test_ctrl_c_stops_and_twice_leaves() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.send("go")
        await ui.until(lambda: ui.messages == ["you: go", "model: text"])
        await ui.pilot.press("ctrl+c")
        await ui.until(lambda: ui.chat.state.generation is None)
        await ui.pilot.press("ctrl+c")
        assert "again to quit" in ui.toasts
        await ui.pilot.press("ctrl+c")
        assert ui.pilot.app._exit

    drive(FakeEngine([Script("text", hold=asyncio.Event())]), scenario)


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


HOSTILE = "\x1b[2J\x1b]0;title\x07\x1b]52;c;aGk=\x07[red]not red[/red] \u202etxt.exe\x9b31m <b>tag</b>"


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 12)])
def test_it_is_usable_and_unharmed_at_every_size(size: tuple[int, int]) -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        await ui.ask(HOSTILE)
        app = ui.pilot.app
        assert ui.prompt.region.height >= 1
        assert ui.prompt.region.bottom <= size[1] - 1
        assert ui.transcript.region.height >= size[1] // 3
        drawn = "\n".join(
            "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
        )
        assert all(char == "\n" or char.isprintable() for char in drawn)
        assert "ready" in drawn
        assert "[red]not" in drawn
        for key, kind in (("f1", HelpScreen), ("ctrl+o", ModelPicker)):
            await ui.pilot.press(key)
            await ui.until(lambda kind=kind: isinstance(app.screen, kind))
            await ui.pilot.press("escape")
            await ui.until(lambda: app.screen is ui.chat)

    drive(FakeEngine([Script(HOSTILE + "\n\n```\n" + HOSTILE + "\n```\n", piece=1)]), scenario, size=size)


def test_without_colours_and_in_every_theme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(ui: Driver) -> None:
        await ui.ask()
        for name in ("fireside", "fireside-light", "gruvbox", "ansi-dark", "textual-light"):
            ui.pilot.app.theme = name
            await ui.pilot.pause()
        assert "Hello." in ui.messages[1]

    drive(FakeEngine([Script("Hello.\n\n```py\nx = 1\n```\n")]), scenario)


def test_the_palette_has_what_the_keys_do() -> None:
    async def scenario(ui: Driver) -> None:
        titles = {command.title for command in ui.pilot.app.get_system_commands(ui.chat)}
        assert {"New chat", "Choose a model", "Retry", "Stop", "Copy answer", "Help", "Quit"} <= titles
        await ui.pilot.press("ctrl+p")
        await ui.pilot.pause()
        await ui.pilot.press("escape")

    drive(FakeEngine(), scenario)


def test_every_key_can_be_remapped_and_is_in_the_help() -> None:
    from fireside.tui.screens.help import help_lines

    groups = [Prompt.BINDINGS, ChatScreen.BINDINGS, TranscriptView.BINDINGS, FiresideApp.BINDINGS]
    bindings = [binding for group in groups for binding in group]
    ids = [binding.id for binding in bindings]  # type: ignore[union-attr]
    assert None not in ids
    assert len(ids) == len(set(ids))
    text = "\n".join(line.plain for line in help_lines([("All", bindings)], 200))
    for binding in bindings:
        assert binding.description in text  # type: ignore[union-attr]
