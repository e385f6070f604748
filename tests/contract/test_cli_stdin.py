"""What of standard input and files becomes the prompt, and that nothing waits in silence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cli_driver import fireside, serving, start, to_end
from fireside.stdin import HINT
from scripted_engine import ScriptedEngine


def prompt(engine: ScriptedEngine) -> str:
    return str(engine.asked["messages"][-1]["content"])


def test_the_pipe_alone_is_the_prompt() -> None:
    with serving() as engine:
        assert fireside("run", stdin=b"Why?\n").out == b"Why?\n"
        assert prompt(engine) == "Why?"


def test_the_pipe_comes_first_then_files_then_the_words(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A ```code``` B")
    with serving() as engine:
        assert fireside("run", "-f", "a.md", "Sum", "it", "up", stdin=b"piped\n", cwd=tmp_path).code == 0
        assert prompt(engine) == "```\npiped\n```\n\na.md:\n````\nA ```code``` B\n````\n\nSum it up"


def test_a_dash_puts_the_pipe_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A")
    with serving() as engine:
        fireside("run", "-f", "a", "-f", "-", "x", stdin=b"piped", cwd=tmp_path)
        assert prompt(engine) == "a:\n```\nA\n```\n\n```\npiped\n```\n\nx"


def test_a_redirected_file_and_a_socket_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from a file")
    with serving() as engine, (tmp_path / "a").open("rb") as file:
        assert to_end(start("run", stdin=file)).out == b"from a file\n"
        ours, theirs = socket.socketpair()
        process = start("run", stdin=theirs)
        ours.sendall(b"from a socket")
        ours.close()
        theirs.close()
        assert to_end(process).out == b"from a socket\n"
        assert len(engine.requests) == 2


def test_an_empty_pipe_adds_nothing() -> None:
    with serving() as engine:
        assert fireside("run", "hi", stdin=b"").code == 0
        assert prompt(engine) == "hi"
    assert fireside("run", stdin=b" \n").code == 2


def test_never_leaves_the_pipe_alone() -> None:
    with serving() as engine:
        assert fireside("run", "--stdin=never", "hi", stdin=b"ignored").code == 0
        assert prompt(engine) == "hi"


def test_an_open_pipe_without_data_is_explained_and_its_data_still_counts() -> None:
    reader, writer = os.pipe()
    with serving() as engine:
        process = start("run", "hi", stdin=reader)
        os.close(reader)
        assert process.stderr is not None
        assert process.stderr.readline().decode().strip() == HINT
        assert not engine.requests
        os.write(writer, b"late")
        os.close(writer)
        assert to_end(process).code == 0
        assert prompt(engine) == "```\nlate\n```\n\nhi"


def test_an_open_pipe_cannot_outlast_the_time_limit() -> None:
    reader, writer = os.pipe()
    done = to_end(start("run", "--timeout", "0.3", "hi", stdin=reader))
    os.close(reader)
    os.close(writer)
    assert done.code == 124
    assert b"--timeout" in done.err


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    with serving() as engine:
        for name, words in (("nothing", b"No such file"), (".", b"Is a directory"), ("picture.png", b"is not text")):
            done = fireside("run", "-f", name, "x", cwd=tmp_path)
            assert done.code == 2
            assert name.encode() in done.err
            assert words in done.err
        assert not engine.requests


def test_other_encodings_are_read_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("naïve".encode("latin-1"))
    (tmp_path / "bom.txt").write_bytes("\ufeffx".encode())
    with serving() as engine:
        done = fireside("run", "-f", "old.txt", "-f", "bom.txt", "x", cwd=tmp_path)
        assert (done.code, b"old.txt are no UTF-8" in done.err) == (0, True)
        assert "na\ufffdve" in prompt(engine)
        assert "```\nx\n```" in prompt(engine)
        assert fireside("run", "-q", "-f", "old.txt", "x", cwd=tmp_path).err == b""


def test_more_than_any_context_holds_is_refused_without_reading_it_all() -> None:
    with serving() as engine, Path("/dev/zero").open("rb") as endless:
        done = to_end(start("run", "--stdin", "always", "x", stdin=endless))
        assert done.code == 5
        assert b"larger than 32 MiB" in done.err
        assert not engine.requests


def test_files_without_their_own_option_are_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").write_text("B")
    with serving():
        assert b"`b` was taken as a word" in fireside("run", "-f", "a", "b", "x", cwd=tmp_path).err
        assert b"only once" in fireside("run", "-f", "-", "-f", "-", "x", stdin=b"y").err
