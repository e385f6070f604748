"""Keys, commands and looks of the terminal app, against a stand-in for the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tui_driver import Driver, drive
from tui_fake import NAME, FakeEngine, Script

from fireside.tui import clipboard
from fireside.tui.app import FiresideApp
from fireside.tui.screens.chat import ChatScreen
from fireside.tui.screens.help import HelpScreen
from fireside.tui.screens.models import ModelPicker
from fireside.tui.widgets.blocks import CodeBlock, FlowBlock
from fireside.tui.widgets.message import Notice
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.thought import Thought
from fireside.tui.widgets.transcript_view import TranscriptView


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
        name = ui.chat.state.conversation.id
        assert body["fireside"] == {"deterministic": True, "conversation": name, "save": True, "draft_runs": True}
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
