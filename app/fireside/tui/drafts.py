"""A message that is ready to be sent: its words, and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

from fireside.conversations.tree import Turn
from fireside.prompt import Material


@dataclass(frozen=True, slots=True)
class Draft:
    text: str
    materials: tuple[Material, ...] = ()
    instead: Turn | None = None
    """The question that it is another version of."""
