"""The last words of a worker process, kept to explain its death."""

from __future__ import annotations

import re
from collections import deque

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Terminal escapes and control characters: the words end up in terminals."""


_WARNING = re.compile(rb"^(?:WARNING|ERROR) fireside_engine[\w.]*: .*$", re.MULTILINE)
_LONGEST = 2000


class StderrTail:
    """A ring of the newest `limit` bytes."""

    def __init__(self, limit: int = 64 * 1024) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._limit = limit
        self._rest = b""

    def warnings(self, chunk: bytes) -> list[str]:
        """What the worker itself warned of in complete lines, plain text. To be given every chunk, in order."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-_LONGEST:]
        spoken = (line for line in lines if _WARNING.match(line))
        return [_CONTROL.sub("", line.decode("utf-8", "replace"))[:500] for line in spoken]

    def feed(self, chunk: bytes) -> None:
        chunk = chunk[-self._limit :]
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._chunks[0]) >= self._limit:
            self._size -= len(self._chunks.popleft())

    def lines(self, count: int) -> list[str]:
        """The last `count` lines that say something, plain text, each cut to a readable length."""
        text = b"".join(self._chunks)[-self._limit :].decode("utf-8", "replace")
        cleaned = (_CONTROL.sub("", line).rstrip()[:500] for line in text.splitlines())
        return [line for line in cleaned if line][-count:]
