"""Standard output, and streams that were closed. Imports next to nothing: every start of the program pays for it.

Written without a buffer of ours, so that every piece of an answer is visible at once and a reader that went away is
noticed by the next piece.
"""

from __future__ import annotations

import os
import select
import sys


def claim_streams() -> None:
    """Put the null device where a standard stream is closed, so that no socket or file of ours takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def abandon_stdout() -> None:
    """After a failed write: Python would try to write what it still holds again at exit, and complain."""
    if sys.stdout is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


class Output:
    """Standard output."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"

    def write(self, text: str) -> None:
        """Write all of `text` now. Raises BrokenPipeError when nobody reads any more, OSError when it fails."""
        if sys.stdout is None:
            raise BrokenPipeError("standard output is closed")
        descriptor = sys.stdout.fileno()
        data = memoryview(text.encode(self._encoding, errors="replace"))
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                # Another program that shares the terminal may have made it non-blocking.
                select.select([], [descriptor], [])
