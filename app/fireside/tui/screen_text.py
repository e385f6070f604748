"""Text of models, users and files on its way to the screen: without terminal control and what misleads. Pure.

Beyond `fireside.sanitize`: marks that turn the direction of text, by which `rm` can be shown as something else, and
line ends that a terminal and a Markdown parser count differently.
"""

from __future__ import annotations

import re

from fireside.sanitize import Sanitizer

_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("[\u2028\u2029]")


class ScreenText:
    """For one stream of text, cut anywhere."""

    def __init__(self) -> None:
        self._sanitizer = Sanitizer()

    def feed(self, text: str) -> str:
        clean = self._sanitizer.feed(text)
        if clean.isascii():
            return clean
        return _SURROGATE.sub("\ufffd", _LINE_END.sub("\n", _DIRECTION.sub("", clean)))


def on_screen(text: str) -> str:
    """`text` as it may be shown."""
    return ScreenText().feed(text)


def on_one_line(text: str) -> str:
    """`text` as it may be shown, in one line."""
    return " ".join(on_screen(text).split())
