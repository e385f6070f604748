"""What the user asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """How the chat begins."""

    model: str = ""
    """A name or a path; empty is that of the chat, or the engine's default."""
    system: str | None = None
    resume: str = ""
    """A chat to go on with: an id, the beginning of one, or `last`."""
    draft: str = ""
    """The model that drafts, auto or off; empty leaves it to the engine."""
    welcomes: bool = False
    """Whether somebody who was never here is shown around; only where nothing was asked for."""
