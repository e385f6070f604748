"""Finding marks in text that comes character by character."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Watch:
    """Holds back what may become one of `words`. No word may begin with another."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(words)
        self._beginnings = frozenset(word[:end] for word in self._words for end in range(1, len(word) + 1))
        firsts = "".join(sorted({word[0] for word in self._words}))
        self._firsts = re.compile(f"[{re.escape(firsts)}]") if firsts else None
        self.held = ""

    def skip(self, text: str, start: int) -> int:
        """Where the next character is that must be pushed; what lies before it is surely no mark."""
        if self.held:
            return start
        found = self._firsts.search(text, start) if self._firsts is not None else None
        return len(text) if found is None else found.start()

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
