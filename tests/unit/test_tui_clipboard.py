"""Copying says only what it knows."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.tui import clipboard
from fireside.tui.clipboard import Outcome, Tool, copy, native_tool, osc52


def script(directory: Path, name: str, code: str) -> str:
    path = directory / name
    path.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\nstore = pathlib.Path({str(directory / 'store')!r})\n{code}\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    write = script(tmp_path, "write", "store.write_bytes(sys.stdin.buffer.read())")
    return Tool((write,), (script(tmp_path, "read", "sys.stdout.buffer.write(store.read_bytes())"),))


def test_a_tool_that_holds_the_text_is_verified(tool: Tool) -> None:
    sent: list[str] = []
    assert copy("héllo\n", sent.append, tool) is Outcome.VERIFIED
    assert sent == []


def test_a_tool_that_cannot_be_read_back_is_believed_but_not_vouched_for(tool: Tool) -> None:
    assert copy("x", lambda _: None, Tool(tool.write)) is Outcome.WRITTEN


def test_a_tool_that_fails_leaves_it_to_the_terminal(tmp_path: Path) -> None:
    sent: list[str] = []
    broken = Tool((script(tmp_path, "broken", "sys.exit(1)"),))
    assert copy("x", sent.append, broken) is Outcome.SENT
    assert copy("x", sent.append, Tool((str(tmp_path / "missing"),))) is Outcome.SENT
    assert len(sent) == 2


def test_too_much_for_a_terminal_is_not_sent() -> None:
    sent: list[str] = []
    assert copy("x" * 80_000, sent.append, None) is Outcome.FAILED
    assert sent == []


@given(st.binary(max_size=200), st.booleans())
def test_the_sequence_carries_the_text_and_nothing_else(data: bytes, in_tmux: bool) -> None:
    sequence = osc52(data, {"TMUX": "x"} if in_tmux else {})
    found = re.findall(r"\x1b+\]52;c;([A-Za-z0-9+/=]*)\x07", sequence)
    assert [base64.b64decode(each) for each in found] == [data] * (2 if in_tmux else 1)


def test_no_desktop_tool_is_used_over_ssh() -> None:
    assert native_tool({"SSH_TTY": "/dev/pts/1", "DISPLAY": ":0"}) is None
    assert native_tool({}, "linux") is None


def test_words_claim_no_more_than_is_known() -> None:
    assert clipboard.describe(Outcome.VERIFIED, "it") == "Copied it."
    for outcome in (Outcome.WRITTEN, Outcome.SENT, Outcome.FAILED):
        assert "Copied" not in clipboard.describe(outcome, "it")


def test_files_are_new(tmp_path: Path) -> None:
    first, second = (clipboard.write_file("x", tmp_path, ".md") for _ in range(2))
    assert first != second
    with pytest.raises(OSError, match="No such file"):
        clipboard.write_file("x", tmp_path / "missing", ".md")
