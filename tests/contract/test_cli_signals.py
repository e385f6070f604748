"""Ctrl-C, a reader that leaves, a disk that is full, a time limit: the engine's work ends, the words stay few."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from cli_driver import Terminal, command, fireside, serving, start, to_end, until
from scripted_engine import Script

HALF = Script(text=["half an ", "answer"], stop_at=1, hang=True)


def test_ctrl_c_keeps_what_came_and_cancels() -> None:
    with serving(HALF) as engine:
        process = start("run", "hi")
        assert process.stdout is not None
        got = process.stdout.read(8)
        process.send_signal(signal.SIGINT)
        done = to_end(process)
        assert (done.code, got + done.out, done.err) == (130, b"half an ", b"")
        until(engine.cancelled.is_set)


def test_ctrl_c_during_the_prompt_cancels() -> None:
    with serving(Script(progress=[(100, 0, 10)], stop_at=0, hang=True)) as engine:
        process = start("run", "--json", "hi")
        until(lambda: engine.requests)
        process.send_signal(signal.SIGINT)
        done = to_end(process)
        assert (done.code, done.out) == (130, b"")
        assert b'"code": "interrupted"' in done.err
        until(engine.cancelled.is_set)


def test_ctrl_c_in_a_terminal_leaves_the_line(tmp_path: Path) -> None:
    terminal = Terminal()
    with serving(HALF) as engine:
        process = start("run", "hi", stdin=terminal.slave, stdout=terminal.slave)
        terminal.wait_for(b"half an ")
        process.send_signal(signal.SIGINT)
        assert to_end(process).code == 130
        until(engine.cancelled.is_set)
    assert terminal.drain() == b"half an \n"
    terminal.close()


def test_ctrl_c_while_waiting_for_the_engine_or_the_input() -> None:
    reader, writer = os.pipe()
    process = start("run", "hi", stdin=reader)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = to_end(process)
    os.close(reader)
    os.close(writer)
    assert (done.code, done.err) == (130, b"")


def test_a_reader_that_leaves_ends_the_work_quietly() -> None:
    with serving(Script(text=["line\n"] * 200, delay=0.01)) as engine:
        process = start("run", "hi")
        head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, check=True)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        done = to_end(process)
        assert head.stdout == b"line\n"
        assert (done.code, done.err) == (141, b"")
        until(engine.cancelled.is_set)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["ps"], ["run", "--json", "hi"]])
def test_nobody_reads_at_all(words: list[str]) -> None:
    with serving(Script(text=["a"])):
        process = start(*words)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        done = to_end(process)
    assert (done.code, done.err) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told() -> None:
    with serving(Script(text=["a"])), Path("/dev/full").open("wb") as full:
        done = to_end(start("run", "hi", stdout=full))
    assert (done.code, done.err) == (1, b"fireside: No space left on device.\n")


def test_the_time_limit_keeps_what_came_and_cancels() -> None:
    with serving(HALF) as engine:
        done = fireside("run", "--timeout", "0.4", "hi")
        assert (done.code, done.out) == (124, b"half an ")
        assert done.err == b"fireside: Not finished in the time of --timeout.\n"
        until(engine.cancelled.is_set)


def test_the_time_limit_counts_a_reader_that_does_not_read() -> None:
    with serving(Script(text=["x" * 10_000] * 50)):
        process = start("run", "--timeout", "0.4", "hi")
        assert process.wait(timeout=30) == 124
        to_end(process)


def test_narration_that_nobody_hears_costs_no_answer() -> None:
    with serving(Script(text=["a"])):
        process = start("run", "--stats", "hi")
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        assert to_end(process)[:2] == (0, b"a\n")


def test_a_command_in_a_terminal_without_a_chat_ends_with_words() -> None:
    main, other = pty.openpty()
    done = subprocess.run(command(), stdin=other, capture_output=True, timeout=30, check=False)
    os.close(main)
    os.close(other)
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr
