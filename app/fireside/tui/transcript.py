"""The conversation as data: turns, the path that is shown, and what of it a model reads. Pure; no widget, no clock.

Turns are append-only and know their parent, so a retried answer stands beside the one it replaces and nothing that was
shown is ever lost. The conversation lives in this process only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fireside.account import Account

TITLE_LENGTH = 60

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's contribution."""

    id: int
    parent: int | None
    role: Role
    text: str
    reasoning: str = ""
    """Thinking of an assistant turn. Shown folded, never sent back: templates drop it from earlier turns."""
    account: Account | None = None
    """Where an assistant turn came from and what it cost."""


@dataclass(slots=True)
class Conversation:
    """A tree of turns and the leaf whose path is shown."""

    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    """In the order of their making; a turn's id is its index."""
    leaf: int | None = None

    def ask(self, text: str) -> Turn:
        """Append what the user said below the leaf."""
        return self._append("user", text)

    def answer(self, text: str, *, reasoning: str = "", account: Account | None = None) -> Turn:
        """Append what a model said below the leaf, which must be a question."""
        if self.leaf is None or self.turns[self.leaf].role != "user":
            raise ValueError("an answer needs a question before it")
        return self._append("assistant", text, reasoning, account)

    def go_back(self, leaf: int | None) -> None:
        """Go on from an earlier turn, or from nothing; what came after it is kept beside the path."""
        self.leaf = leaf

    def retry(self) -> Turn | None:
        """Move back to the last question on the path, ready for another answer. None if nothing was asked."""
        for turn in reversed(self.path()):
            if turn.role == "user":
                self.leaf = turn.id
                return turn
        return None

    @property
    def last(self) -> Turn | None:
        return None if self.leaf is None else self.turns[self.leaf]

    def path(self) -> list[Turn]:
        """The turns that are shown, oldest first."""
        found: list[Turn] = []
        at = self.leaf
        while at is not None:
            found.append(self.turns[at])
            at = self.turns[at].parent
        return found[::-1]

    def last_answer(self) -> Turn | None:
        return next((turn for turn in reversed(self.path()) if turn.role == "assistant"), None)

    def messages(self) -> list[dict[str, Any]]:
        """What the model reads: the system prompt and the path."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [{"role": turn.role, "content": turn.text} for turn in self.path()]

    @property
    def title(self) -> str:
        """The first line of the first question; empty before there is one."""
        first = next((turn.text for turn in self.path() if turn.role == "user"), "")
        line = next((line.strip() for line in first.splitlines() if line.strip()), "")
        return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"

    def _append(self, role: Role, text: str, reasoning: str = "", account: Account | None = None) -> Turn:
        turn = Turn(len(self.turns), self.leaf, role, text, reasoning, account)
        self.turns.append(turn)
        self.leaf = turn.id
        return turn


@dataclass(slots=True)
class PromptHistory:
    """What was sent in this session, for the arrow keys. The draft that was being typed is kept at the newest end."""

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
