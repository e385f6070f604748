"""Finding marks in text that comes character by character."""

from __future__ import annotations

from collections.abc import Iterable


class Watch:
    """Holds back what may become one of `words`. No word may begin with another."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(words)
        self._beginnings = frozenset(word[:end] for word in self._words for end in range(1, len(word) + 1))
        self.held = ""

    def push(self, char: str) -> tuple[str, str]:
        """What is surely no mark, and the mark that `char` completes, or ""."""
        self.held += char
        start = 0
        while self.held[start:] not in self._beginnings and start < len(self.held):
            start += 1
        released, self.held = self.held[:start], self.held[start:]
        if self.held in self._words:
            mark, self.held = self.held, ""
            return released, mark
        return released, ""

    def flush(self) -> str:
        """What was held back; it became no mark."""
        held, self.held = self.held, ""
        return held
