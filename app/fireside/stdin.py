"""Whether standard input belongs to the prompt, and reading it without ever waiting in silence.

A pipe that stays open without data (an editor, a CI runner or a cron job left it there) is the classic trap: the rule
below reads what can hold data, never a terminal, and says what it waits for.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from enum import StrEnum

HINT_AFTER = 3.0
"""Seconds without a byte before the wait is explained."""
HINT = "fireside: waiting for stdin (use </dev/null or --stdin=never)"
_READ_SIZE = 64 * 1024


class StdinMode(StrEnum):
    AUTO = "auto"
    """Read a pipe, a file or a socket; never a terminal or another device."""
    ALWAYS = "always"
    NEVER = "never"


def belongs_to_prompt(mode: StdinMode, descriptor: int = 0) -> bool:
    if mode is not StdinMode.AUTO:
        return mode is StdinMode.ALWAYS
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)


def read(limit: int, *, hint: Callable[[str], None] | None, descriptor: int = 0) -> bytes:
    """All of standard input, or its first `limit` + 1 bytes if there are more.

    `hint` is called once when nothing has come for a while; None waits in silence, for a user who knows that it waits.
    """
    data = bytearray()
    while len(data) <= limit:
        if hint and not data and not select.select([descriptor], [], [], HINT_AFTER)[0]:
            hint(HINT)
            hint = None
        piece = os.read(descriptor, _READ_SIZE)
        if not piece:
            break
        data += piece
    return bytes(data[: limit + 1])
