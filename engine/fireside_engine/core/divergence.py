"""Where a prompt and what is known part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a prompt leaves what is known."""

    position: int
    known: int
    """The token that was there."""
