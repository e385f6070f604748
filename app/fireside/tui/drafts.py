"""A message that is ready to be sent: its words, and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

from fireside.conversations.tree import Turn
from fireside.prompt import Material
from fireside.tui.attachments import read


@dataclass(frozen=True, slots=True)
class Draft:
    text: str
    materials: tuple[Material, ...] = ()
    instead: Turn | None = None
    """The question that it is another version of."""


def draft_of(text: str, instead: Turn | None = None) -> Draft:
    """With the files that the text names; another version of a question keeps those that it had from elsewhere.

    Reads files. Raises AttachmentError with words for the user.
    """
    materials = read(text)
    names = {material.name for material in materials}
    kept = [old for old in instead.materials if old.name not in names] if instead is not None else []
    return Draft(text, (*kept, *materials), instead)
