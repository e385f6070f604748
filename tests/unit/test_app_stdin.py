"""What standard input is read, and that no wait is silent."""

from __future__ import annotations

import os
import pty
import socket
import threading
from pathlib import Path

import pytest

from fireside import stdin
from fireside.stdin import StdinMode, belongs_to_prompt


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_auto_reads_what_can_hold_data(tmp_path: Path, pipe: tuple[int, int]) -> None:
    with (tmp_path / "file").open("w+b") as file, socket.socket() as plug:
        assert [belongs_to_prompt(StdinMode.AUTO, number) for number in (file.fileno(), plug.fileno(), pipe[0])] == [
            True,
            True,
            True,
        ]
    for number in pipe:
        os.close(number)


def test_auto_never_reads_a_device_or_what_is_closed() -> None:
    numbers = [*pty.openpty(), os.open(os.devnull, os.O_RDONLY)]
    assert not any(belongs_to_prompt(StdinMode.AUTO, number) for number in numbers)
    for number in numbers:
        os.close(number)
    assert not belongs_to_prompt(StdinMode.AUTO, numbers[0])


def test_the_user_decides() -> None:
    assert belongs_to_prompt(StdinMode.ALWAYS, -1)
    assert not belongs_to_prompt(StdinMode.NEVER, 0)


def feed(descriptor: int, data: bytes, after: threading.Event | None = None) -> threading.Thread:
    def _write() -> None:
        if after:
            after.wait(timeout=30)
        os.write(descriptor, data)
        os.close(descriptor)

    thread = threading.Thread(target=_write)
    thread.start()
    return thread


def test_a_wait_is_explained_once_and_goes_on(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    monkeypatch.setattr(stdin, "HINT_AFTER", 0.05)
    hinted = threading.Event()
    hints: list[str] = []
    writer = feed(pipe[1], b"late", after=hinted)
    assert stdin.read(100, hint=lambda words: (hints.append(words), hinted.set())[0], descriptor=pipe[0]) == b"late"
    writer.join()
    os.close(pipe[0])
    assert hints == [stdin.HINT]


def test_data_that_comes_at_once_needs_no_explanation(pipe: tuple[int, int]) -> None:
    writer = feed(pipe[1], b"x" * 1000)
    assert stdin.read(10_000, hint=pytest.fail, descriptor=pipe[0]) == b"x" * 1000
    writer.join()
    os.close(pipe[0])


def test_more_than_the_limit_is_seen_without_reading_it_all(pipe: tuple[int, int]) -> None:
    writer = feed(pipe[1], b"x" * 1000)
    assert len(stdin.read(10, hint=None, descriptor=pipe[0])) == 11
    writer.join()
    os.close(pipe[0])
