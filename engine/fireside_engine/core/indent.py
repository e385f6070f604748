"""An answer that must not leave the block it began in: it ends before the first line with less indentation."""

from __future__ import annotations


class IndentGuard:
    """Feed text in any pieces. Blank lines end nothing; the indentation of a line waits until its first word."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._held: str | None = None
        """White space since the last line break; None within a line."""
        self.ended = False

    def push(self, text: str) -> str:
        """What may be shown of `text`."""
        shown = ""
        for char in text:
            if self.ended:
                break
            if char == "\n":
                shown += (self._held or "") + char
                self._held = ""
            elif self._held is None:
                shown += char
            elif char in " \t\r":
                self._held += char
            elif len(self._held) < self._least:
                self.ended = True
            else:
                shown += self._held + char
                self._held = None
        return shown
