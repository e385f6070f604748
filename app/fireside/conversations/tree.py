"""A conversation as data: turns, the path that is shown, and what of it a model reads. Pure but for ids and the clock.

Turns are append-only and know their parent, so an edited question or a retried answer stands beside the one it replaces
and nothing that was shown is ever lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fireside.account import Account
from fireside.conversations.ids import new_conversation_id, new_turn_id
from fireside.prompt import Material, lay_out

TITLE_LENGTH = 60

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's contribution."""

    id: str
    parent: str | None
    role: Role
    text: str
    reasoning: str = ""
    """Thinking of an assistant turn. Shown folded, never sent back: templates drop it from earlier turns."""
    materials: tuple[Material, ...] = ()
    """Files and piped text that belong to a question."""
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """What an answer was asked with: system, temperature, seed and others; members that were left open are missing."""
    account: Account | None = None
    """Where an assistant turn came from and what it cost; None while it is being written."""
    created: float = 0.0
    """Seconds since the epoch."""

    @property
    def content(self) -> str:
        """What a model reads."""
        return lay_out(list(self.materials), self.text)

    @property
    def broke_off(self) -> bool:
        """Whether its answer never came to an end that was written down."""
        return self.role == "assistant" and (self.account is None or self.account.ending == "failed")


@dataclass(slots=True)
class Conversation:
    """A tree of turns and the leaf whose path is shown."""

    system: str = ""
    id: str = field(default_factory=new_conversation_id)
    turns: dict[str, Turn] = field(default_factory=dict)
    """By id, in the order of their making."""
    leaf: str | None = None
    named: str = ""
    """The title that the user gave; empty for the first words of the first question."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the next answer is asked with."""
    pinned: bool = False
    created: float = field(default_factory=time.time)

    def ask(self, text: str, materials: Iterable[Material] = ()) -> Turn:
        """Append what the user said below the leaf."""
        return self.add(self._turn("user", text, materials=tuple(materials)))

    def answer(
        self,
        text: str,
        *,
        reasoning: str = "",
        model: str = "",
        settings: dict[str, Any] | None = None,
        account: Account | None = None,
    ) -> Turn:
        """Append what a model says below the leaf, which must be a question."""
        if self.last is None or self.last.role != "user":
            raise ValueError("an answer needs a question before it")
        return self.add(
            self._turn(
                "assistant", text, reasoning=reasoning, model=model, settings=dict(settings or {}), account=account
            )
        )

    def add(self, turn: Turn) -> Turn:
        """Append a turn, and stand at it."""
        self.turns[turn.id] = turn
        self.leaf = turn.id
        return turn

    def amend(self, turn: Turn, **changes: Any) -> Turn:
        """Put more into an answer that is being written."""
        self.turns[turn.id] = replace(turn, **changes)
        return self.turns[turn.id]

    def go_back(self, leaf: str | None) -> None:
        """Go on from another turn, or from nothing; what came after it is kept beside the path."""
        self.leaf = leaf

    def forget(self, ids: Iterable[str]) -> None:
        """Take turns out for good. Those below them must be among them."""
        for id_ in ids:
            self.turns.pop(id_, None)

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

    def path(self, leaf: str | None = None) -> list[Turn]:
        """The turns that are shown, oldest first; or those up to `leaf`."""
        found: list[Turn] = []
        at = leaf or self.leaf
        while at is not None:
            found.append(self.turns[at])
            at = self.turns[at].parent
        return found[::-1]

    def last_answer(self) -> Turn | None:
        return next((turn for turn in reversed(self.path()) if turn.role == "assistant"), None)

    def children(self, id_: str | None) -> list[Turn]:
        """The turns right below one, oldest first; None is the root."""
        return [turn for turn in self.turns.values() if turn.parent == id_]

    def siblings(self, turn: Turn) -> list[Turn]:
        """All turns in its place, itself among them."""
        return self.children(turn.parent)

    def place(self, turn: Turn) -> tuple[int, int] | None:
        """Which of how many siblings it is, counted from 1; None where it is the only one."""
        ids = [sibling.id for sibling in self.siblings(turn)]
        return (ids.index(turn.id) + 1, len(ids)) if len(ids) > 1 else None

    def newest_leaf(self, id_: str) -> str:
        """Where one arrives who goes to this turn: the newest turn that has it on its path."""
        below = {id_}
        newest = id_
        for turn in self.turns.values():
            if turn.parent in below:
                below.add(turn.id)
                newest = turn.id
        return newest

    def branch(self, id_: str) -> list[str]:
        """The turn and everything below it."""
        below = {id_: None}
        for turn in self.turns.values():
            if turn.parent in below:
                below[turn.id] = None
        return list(below)

    def fork(self, leaf: str) -> Conversation:
        """A new conversation that begins with a copy of the path to `leaf`."""
        copy = Conversation(system=self.system, settings=dict(self.settings))
        for turn in self.path(leaf):
            copy.add(replace(turn, id=new_turn_id(), parent=copy.leaf))
        return copy

    def messages(self) -> list[dict[str, Any]]:
        """What the model reads: the system prompt and the path."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [{"role": turn.role, "content": turn.content} for turn in self.path()]

    @property
    def title(self) -> str:
        """The user's, or the first line of the first question; empty before there is one."""
        if self.named:
            return self.named
        first = next((turn for turn in self.path() if turn.role == "user"), None)
        return title_of(first) if first else ""

    def _turn(self, role: Role, text: str, **values: Any) -> Turn:
        return Turn(new_turn_id(), self.leaf, role, text, created=time.time(), **values)


def title_of(question: Turn) -> str:
    """The first line of a question, or the names of its files."""
    line = next((line.strip() for line in question.text.splitlines() if line.strip()), "")
    line = line or ", ".join(material.name for material in question.materials if material.name)
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"
