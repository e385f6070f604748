"""How one loaded model is driven."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fireside_engine.core.prefix import Use
from fireside_engine.core.saving import Saves


class Trimming(Enum):
    """What the model's memory allows when a slot's KV is longer than the prefix it is wanted for."""

    ANYWHERE = "anywhere"
    """Plain attention: KV can be cut after any token."""
    NEVER = "never"
    """Recurrent state and sliding windows: KV serves only as a whole."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one loaded model is driven."""

    n_slots: int
    n_ctx: int
    """Tokens one sequence may have."""
    n_batch: int
    """Tokens of the longest piece of a prompt; a multiple of TILE."""
    decode_width: int
    """Sequences decoded in one batch."""
    reuse_generated: bool = True
    """KV of generated tokens may serve as part of a prompt."""
    trimming: Trimming = Trimming.ANYWHERE
    exact: bool = False
    """Every text is byte for byte that of its request alone."""
    copies: bool = False
    """A slot's KV can be copied to another."""
    saves: Saves = field(default_factory=Saves)
    """How KV is saved."""

    @property
    def use(self) -> Use:
        return Use(self.trimming is Trimming.ANYWHERE, self.reuse_generated, self.copies)
