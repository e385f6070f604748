"""The plain conversation: what is sent, what is kept, what is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cli_driver import serving
from fireside.models import ModelChoice
from fireside.recording import Recording
from fireside.repl import LineNarrator, Repl
from scripted_engine import Script, ScriptedEngine


def talk(*lines: str | type[BaseException]) -> None:
    """A conversation in which the user types these lines, or presses these keys."""
    rest = list(lines)

    def _read(_prompt: str) -> str:
        line = rest.pop(0) if rest else EOFError
        if isinstance(line, str):
            return line
        raise line

    recording = Recording()
    recording.conversation.system = "Be brief."
    Repl(recording, ModelChoice("tiny"), _read).run()


def messages(engine: ScriptedEngine, number: int) -> list[tuple[str, str]]:
    bodies = [body for path, body in engine.requests if path == "/v1/chat/completions"]
    return [(message["role"], message["content"]) for message in bodies[number]["messages"]]


Read = Callable[[], tuple[str, str]]


def test_a_conversation_grows_turn_by_turn(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(Script(text=["An ", "answer."])) as engine:
        talk("one\\", "two", "", "three", "/system Be long.", "/new", "four")
        assert messages(engine, 0) == [("system", "Be brief."), ("user", "one\ntwo")]
        assert messages(engine, 1) == [*messages(engine, 0), ("assistant", "An answer."), ("user", "three")]
        assert messages(engine, 2) == [("system", "Be long."), ("user", "four")]
    out, err = capfd.readouterr()
    assert out.count("Model: An answer.\n") == 3
    assert not err
    assert "\x1b" not in out


def test_a_failed_turn_is_said_and_forgotten(capfd: pytest.CaptureFixture[str]) -> None:
    error = {"code": "context_exceeded", "message": "The prompt has 9000 tokens, the context holds 8192."}
    with serving(Script(error=error, status=400)) as engine:
        talk("far too long")
        engine.script = Script(text=["ok"])
        talk_again = messages(engine, 0)
        assert talk_again[-1] == ("user", "far too long")
    assert "9000 tokens" in capfd.readouterr().err
    with serving(Script(error=error, status=400)) as engine:
        talk("first", "second")
        assert messages(engine, 1) == [("system", "Be brief."), ("user", "second")]


def test_what_came_before_a_crash_stays_in_the_conversation(capfd: pytest.CaptureFixture[str]) -> None:
    error = {"code": "worker_crashed", "message": "The model's process died.", "log": ["GGML_ASSERT"]}
    with serving(Script(text=["half", "never"], stop_at=1, error=error)) as engine:
        talk("first", "second")
        assert ("assistant", "half") in messages(engine, 1)
    err = capfd.readouterr().err
    assert "The model's process died." in err
    assert "GGML_ASSERT" in err


def test_commands_answer_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    talk("/help", "/model", "/modle x", "/model ./nothing.gguf", KeyboardInterrupt, "/quit", "never read")
    out, err = capfd.readouterr()
    assert "Ctrl-D leaves" in out
    assert "\ntiny\n" in out
    assert "Did you mean `/model`?" in out
    assert "No such model file: ./nothing.gguf" in err


def test_a_long_wait_is_told_seldom(capfd: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    narrator = LineNarrator(lambda: now[0])
    for second in range(0, 100, 5):
        now[0] = float(second)
        narrator.status("reading")
    assert capfd.readouterr().err == "Still working: reading\n" * 3
    now[0] += 29
    narrator.clear()
    now[0] += 29
    narrator.status("reading")
    assert not capfd.readouterr().err
