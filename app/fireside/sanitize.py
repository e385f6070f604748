"""Takes terminal control out of text that a model, a file or an engine wrote.

Such text must not move the cursor, retitle a window or write the clipboard. Whole escape sequences go, with their
parameters, and all control characters but newline and tab. Works on a stream cut anywhere: what comes out does not
depend on the cuts.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    """After ESC."""
    INTERMEDIATE = auto()
    """After ESC and an intermediate character, e.g. of a character set switch."""
    CSI = auto()
    """In the parameters of a control sequence."""
    STRING = auto()
    """In a window title, a clipboard write or another string. It also ends with its line, so that one that never
    ends cannot swallow the answer."""


class Sanitizer:
    """For one stream of text."""

    def __init__(self) -> None:
        self._state = _State.TEXT

    def feed(self, text: str) -> str:
        if self._state is _State.TEXT and not _CONTROL.search(text):
            return text
        return "".join(char for char in text if self._keeps(char))

    def _keeps(self, char: str) -> bool:
        """Whether `char` is text; follows the sequence it belongs to otherwise."""
        state = self._state
        if state is _State.STRING and char not in "\x07\x1b\x9c\n":
            return False
        if state is _State.CSI and " " <= char <= "?":
            return False
        if state in (_State.ESCAPE, _State.INTERMEDIATE) and " " <= char <= "/":
            self._state = _State.INTERMEDIATE
            return False
        self._state = _State.TEXT
        if state is _State.ESCAPE and char in "[]PX^_":
            self._state = _State.CSI if char == "[" else _State.STRING
            return False
        if state is _State.CSI and "@" <= char <= "~":
            return False
        if state in (_State.ESCAPE, _State.INTERMEDIATE) and "0" <= char <= "~":
            return False
        if char == "\x1b":
            self._state = _State.ESCAPE
        elif char == "\x9b":
            self._state = _State.CSI
        elif char in "\x90\x98\x9d\x9e\x9f":
            self._state = _State.STRING
        return not _CONTROL.match(char)


def clean(text: str) -> str:
    """`text` without terminal control."""
    return Sanitizer().feed(text)


def clean_line(text: str) -> str:
    """`text` without terminal control, as one line."""
    return " ".join(clean(text).split())
