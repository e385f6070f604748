"""Files in messages, personas, the editor, keys of one's own: what a message may carry and who may write it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tui_driver import Driver, drive
from tui_fake import FakeEngine

from fireside.app_settings import AppSettings
from fireside.tui import attachments, editor
from fireside.tui.app import FiresideApp
from fireside.tui.attachments import AttachmentError, begun, completed, completions, named, read
from fireside.tui.start import Start


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "work"
    (place / "src").mkdir(parents=True)
    (place / "src" / "main.rs").write_text("fn main() {}\n")
    (place / "src" / "map.rs").write_text("mod map;\n")
    (place / "my notes.md").write_text("# Notes [x]\n")
    (place / "image.png").write_bytes(b"\x89PNG\0\0")
    monkeypatch.chdir(place)
    return place


def test_files_are_named_by_an_at_sign(folder: Path) -> None:
    text = 'Compare @src/main.rs, @"my notes.md" and @src/main.rs with @nobody or a@src/main.rs (@src)'
    assert [str(path) for path in named(text)] == ["src/main.rs", "my notes.md"]
    materials = read(text)
    assert [material.text for material in materials] == ["fn main() {}\n", "# Notes [x]\n"]
    with pytest.raises(AttachmentError, match="no text"):
        read("see @image.png")


def test_too_large_and_unreadable_files_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MAX_BYTES", 4)
    with pytest.raises(AttachmentError, match="larger than"):
        read("@src/main.rs")


def test_paths_are_completed(folder: Path) -> None:
    assert completions("") == ["image.png", "my notes.md", "src/"]
    assert completions("src/ma") == ["src/main.rs", "src/map.rs"]
    assert completions("nowhere/") == []
    assert completed("a @sr", ["src/"]) == "a @src/"
    assert completed("a @src/m", completions("src/m")) == "a @src/ma"
    assert completed("a @src/ma", completions("src/ma")) == "a @src/main.rs "
    assert completed("a @my", ["my notes.md"]) == 'a @"my notes.md" '
    assert begun('a @"my n') == "my n"
    assert begun("a@b") is None
    assert begun("@done next") is None


@given(st.text(max_size=40))
def test_no_message_breaks_the_reading_of_names(text: str) -> None:
    list(named(text))
    begun(text)


def test_a_file_is_typed_completed_sent_and_counted(folder: Path) -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        ui.prompt.insert("Explain @src/mai")
        await ui.until(lambda: ui.chat._command_hints.has_some)
        await ui.pilot.press("tab")
        assert ui.prompt.text == "Explain @src/main.rs "
        await ui.pilot.press("enter")
        await ui.until(lambda: ui.engine.closed and not ui.chat._answering.is_busy)
        assert ui.messages[0] == "you: Explain @src/main.rs\n@ src/main.rs · 1 line · ≈3 tok"
        content = ui.engine.bodies[0]["messages"][0]["content"]
        assert content == "src/main.rs:\n```\nfn main() {}\n```\n\nExplain @src/main.rs"
        await ui.send("And @image.png")
        await ui.until(lambda: "no text" in ui.toasts)
        assert ui.prompt.text == "And @image.png"

    drive(FakeEngine(), scenario)


def test_the_editor_gives_back_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\necho "more [text]" >> "$1"\n')
    script.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(script))
    assert editor.edit("begun\n") == "begun\nmore [text]"
    monkeypatch.setenv("EDITOR", "false")
    with pytest.raises(OSError, match="status 1"):
        editor.edit("x")
    monkeypatch.setenv("VISUAL", "/nowhere/vi")
    with pytest.raises(OSError, match="nowhere"):
        editor.edit("x")


def test_settings_of_the_user_hold_in_the_chat() -> None:
    settings = AppSettings(
        theme="fireside-light", vim=True, keys={"chat.new": "ctrl+k"}, personas={"brief": "Be [brief]."}
    )

    async def scenario() -> None:
        engine = FakeEngine()
        async with FiresideApp(engine, Start(), settings=settings).run_test(size=(80, 24)) as pilot:
            ui = Driver(pilot, engine)
            assert pilot.app.theme == "fireside-light"
            await ui.ready()
            await ui.send("/persona brief")
            await ui.until(lambda: ui.chat.state.conversation.system == "Be [brief].")
            await ui.send("/persona breif")
            await ui.until(lambda: "no persona" in ui.toasts)
            await ui.ask("Hi")
            assert ui.engine.bodies[0]["messages"][0]["content"] == "Be [brief]."
            await pilot.press("escape")
            assert ui.transcript.has_focus
            await pilot.press("i")
            assert ui.prompt.has_focus
            await pilot.press("ctrl+k")
            await ui.until(lambda: ui.path == [])
            await ui.send("/theme fireside")
            await ui.until(lambda: pilot.app.theme == "fireside")
            await ui.send("/theme nothing")
            await ui.until(lambda: "no theme" in ui.toasts)

    asyncio.run(scenario())
