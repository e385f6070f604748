"""What was sent before, for the arrow keys of the prompt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PromptHistory:
    """Walked by older and newer. The draft that was being typed is kept at the newest end."""

    entries: list[str] = field(default_factory=list)
    _at: int | None = None
    _draft: str = ""

    def add(self, text: str) -> None:
        if text and (not self.entries or self.entries[-1] != text):
            self.entries.append(text)
        self._at = None
        self._draft = ""

    def older(self, current: str) -> str | None:
        """The entry before the one shown, or None at the oldest. `current` is kept when it is the draft."""
        if not self.entries or self._at == 0:
            return None
        if self._at is None:
            self._draft = current
            self._at = len(self.entries)
        self._at -= 1
        return self.entries[self._at]

    def newer(self) -> str | None:
        """The entry after the one shown; past the newest, the draft. None when the draft is shown already."""
        if self._at is None:
            return None
        self._at += 1
        if self._at < len(self.entries):
            return self.entries[self._at]
        self._at = None
        return self._draft
