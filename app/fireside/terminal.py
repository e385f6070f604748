"""The three standard streams: answers go to standard output and nothing else does; narration goes to standard error.

Standard output is written without a buffer of ours, so that every piece of an answer is visible at once and a reader
that went away is noticed by the next piece.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fireside.failure import TimeLimitError
from fireside.sanitize import clean, clean_line
from fireside.stdout import Output as Output
from fireside.stdout import abandon_stdout as abandon_stdout
from fireside.stdout import claim_streams as claim_streams
from fireside.wire import JsonObject

FALLBACK_COLUMNS = 80
_HIDDEN = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters that JSON allows in the open; inside its strings they can be written escaped."""


def to_json_line(value: JsonObject) -> str:
    """One line of JSON in which no control character stands in the open."""
    return json.dumps(value, ensure_ascii=False).translate(_HIDDEN)


def to_json_text(value: object) -> str:
    """JSON for people and files, in which no control character but line ends stands in the open."""
    return json.dumps(value, ensure_ascii=False, indent=2).translate(_HIDDEN) + "\n"


class Narrator:
    """Standard error: one status line that is redrawn on a terminal, notes, and words about failures."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._gone = sys.stderr is None
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self.is_live = is_terminal and not quiet and os.environ.get("TERM", "dumb") != "dumb"
        """Whether a status line can be drawn. Without a terminal there is none, and no escape byte."""
        self._shown = False

    @property
    def columns(self) -> int:
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or FALLBACK_COLUMNS
        except OSError:
            return FALLBACK_COLUMNS

    @property
    def draws_blocks(self) -> bool:
        """Whether the terminal's encoding has block characters."""
        return sys.stderr is not None and "utf" in sys.stderr.encoding.lower()

    def status(self, text: str) -> None:
        """Replace the status line; does nothing where there is none."""
        if self.is_live:
            self._write("\r\x1b[K" + clean_line(text)[: self.columns - 1])
            self._shown = True

    def clear(self) -> None:
        """Take the status line away."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def note(self, text: str) -> None:
        """Lines that stay, unless the user asked for quiet."""
        if not self._quiet:
            self.say(text)

    def say(self, text: str) -> None:
        """Lines that stay, in any case."""
        self.clear()
        self._write(clean(text) + "\n")

    def write_raw(self, text: str) -> None:
        """Text that stays and may be a part of a line. It must not hold terminal control."""
        self._write(text)

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            # Nobody listens to the narration; that must not cost the answer.
            self._gone = True


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeLimitError when the block takes longer, whatever it waits for: the engine, the input, or the reader."""
    if seconds is None:
        yield
        return

    def _pass(_number: int, _frame: FrameType | None) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, _pass)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
