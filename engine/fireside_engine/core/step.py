"""One turn of the loop as data: the scheduler writes a Step, the runner answers with a Result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.events import TokenLogprob

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token drawn for a sequence."""

    token: int
    logprob: TokenLogprob | None = None
    ended: bool = False
    """The constraint is complete: nothing may follow."""


class Drawer(Protocol):
    """Draws the tokens of one request: its sampling parameters, its constraint, its penalties."""

    def draw(self, logits: Logits, position: int, history: Tokens, remaining: int) -> Drawn:
        """The token for `position` (absolute, 0 is the first of the prompt).

        logits: float32 (n_vocab,), valid during the call only, not to be changed. history: all tokens before it.
        remaining: how many tokens the request may still have, this one included.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Draw a token from the logits of a chunk's last token."""

    drawer: Drawer
    history: Tokens
    """Tokens 0..position-1, those of the chunk included."""
    remaining: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive tokens of one slot, computed in this step."""

    slot: int
    start: int
    """Position of the first token."""
    tokens: Tokens
    draw: Draw | None
    """None for a piece of a prompt that is not its last."""


class Phase(StrEnum):
    PREFILL = "prefill"
    """One piece of one prompt."""
    DECODE = "decode"
    """One token for each of several slots."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What to compute now. Prompts and running sequences never share a batch: their kernels round differently, and a
    token's bits would depend on the neighbours."""

    phase: Phase
    chunks: tuple[Chunk, ...]
    trim: tuple[tuple[int, int], ...] = ()
    """(slot, length): KV at positions >= length is dropped before anything is computed."""

    @property
    def n_tokens(self) -> int:
        return sum(len(chunk.tokens) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a Step."""

    drawn: tuple[tuple[int, Drawn | dict[str, Any]], ...]
    """(slot, token) for every chunk that asked; a `FiresideError.to_dict()` where drawing failed for that slot."""
    started: float
    finished: float
    """Seconds of a monotonic clock."""
    failed: dict[str, Any] | None = None
    """`FiresideError.to_dict()` when the batch as a whole was not computed; the KV of its slots is undefined then."""

    @property
    def seconds(self) -> float:
        return self.finished - self.started
