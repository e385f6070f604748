"""Long pastes in the prompt, folded to a marker there and whole again in what is sent. Pure."""

from __future__ import annotations

import re

FOLD_LINES = 10
FOLD_LENGTH = 2000
"""Characters."""
_MARKER = re.compile(r"\[paste #(\d+) \+\d+ (?:lines|characters)\]")


class Pastes:
    """Of one prompt. Numbers are never used twice, so that a marker always means the same text."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def fold(self, text: str) -> str:
        """What stands in the prompt for a pasted text: the text itself where it is short."""
        n_lines = text.count("\n") + 1
        if n_lines <= FOLD_LINES and len(text) <= FOLD_LENGTH:
            return text
        self._texts.append(text)
        many = f"+{n_lines} lines" if n_lines > FOLD_LINES else f"+{len(text)} characters"
        return f"[paste #{len(self._texts)} {many}]"

    def expand(self, text: str) -> str:
        """The text with every paste in its place; a marker that somebody wrote by hand stays what it is."""
        return _MARKER.sub(self._whole, text)

    def marker_at(self, text: str, position: int) -> tuple[int, int] | None:
        """Where the marker begins and ends that a position touches."""
        return next(
            (
                (match.start(), match.end())
                for match in _MARKER.finditer(text)
                if match.start() <= position <= match.end() and int(match[1]) <= len(self._texts)
            ),
            None,
        )

    def _whole(self, match: re.Match[str]) -> str:
        number = int(match[1])
        return self._texts[number - 1] if 1 <= number <= len(self._texts) else match[0]
