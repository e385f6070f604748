"""One turn of the loop as data: the scheduler writes a Step, the runner answers with a Result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.events import TokenLogprob
from fireside_engine.core.owner import Owner

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token drawn for a sequence."""

    token: int
    logprob: TokenLogprob | None = None
    ended: bool = False
    """The constraint is complete: nothing may follow."""
    forced: tuple[int, ...] = ()
    """Tokens that the constraint forces next: drawing takes them whatever the logits are."""
    likely: tuple[int, ...] = ()
    """Tokens that probably come next by the constraint, the forced ones first."""
    kept: bool | None = None
    """Whether it is the token that a smaller model suggested; None where there was no suggestion to be tolerant of."""


class Drawer(Protocol):
    """Draws the tokens of one request: its sampling parameters, its constraint, its penalties."""

    def draw(self, logits: Logits | None, position: int, history: Tokens, remaining: int) -> Drawn:
        """The token for `position` (absolute, 0 is the first of the prompt).

        logits: float32 (n_vocab,), valid during the call only, not to be changed; None where the token is forced and no
        log probabilities are wanted. history: all tokens before it. remaining: how many tokens the request may still
        have, this one included.
        """
        ...

    def settle(
        self, logits: Logits, position: int, history: Tokens, remaining: int, suggested: int, tolerance: float
    ) -> Drawn:
        """As `draw`, but the token of a smaller model stays where it is good enough (core.sampling.tolerance)."""
        ...

    def guess(self, logits: Logits, position: int, history: Tokens) -> tuple[int, float]:
        """The token that would be drawn from a draft model's logits, without any constraint, and its probability by
        these logits. Changes nothing."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Draw from the logits of a chunk's tokens: after the first of `1 + drafted` tokens, and after each further one as
    long as the draw before it gave that very token."""

    drawer: Drawer
    history: Tokens
    """Tokens from 0 on, the drafted ones included."""
    remaining: int
    """How many tokens the request may still have when the first is drawn."""
    drafted: int = 0
    certain: int = 0
    """So many draws from the first on need no logits."""
    suggested: tuple[int, ...] = ()
    """What a smaller model says, for the first draws; at most one more than drafted tokens, which are its first."""
    tolerance: float = 0.0
    """Above 0, suggestions that are good enough are kept; at 0 they are drafts like others."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive tokens of one slot, computed in this step."""

    slot: int
    start: int
    """Position of the first token."""
    tokens: Tokens
    """In a decoding step the latest token, drafted ones, and whatever pads the batch to a cheaper size."""
    draw: Draw | None
    """None for a piece of a prompt that is not its last."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Make the KV of one slot a copy of another's."""

    source: int
    target: int
    length: int
    """Tokens that the copy keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Restore:
    """Put KV that was read from disk into a slot, whatever it held."""

    slot: int
    n: int
    payload: Any
    """What the disk's reader made; the runner knows how to take it."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Copy KV out of a slot, so that it can be saved."""

    slot: int
    start: int
    """A multiple of a block's length."""
    stop: int
    n: int
    """Tokens that the slot holds now."""
    tokens: Tokens
    """Tokens 0..stop-1."""
    prefilled: int
    """How many of these came from a prompt."""
    state: bool
    """Take a checkpoint at `n` as well."""
    scope: bytes
    owner: Owner


@dataclass(frozen=True, slots=True, eq=False)
class Propose:
    """Let the draft model go on from a slot's tokens."""

    slot: int
    tokens: Tokens
    """All of the slot's, the latest included."""
    k: int
    """Tokens wanted."""
    least: float
    """Drafting ends after a token of less probability, by the draft model's own view."""
    drawer: Drawer


class Phase(StrEnum):
    PREFILL = "prefill"
    """One piece of one prompt."""
    DECODE = "decode"
    """The latest token of each of several slots, and drafts after it, the same number of rows for each."""
    DRAFT = "draft"
    """The draft model proposes tokens."""
    RESTORE = "restore"
    """KV comes back from disk."""
    SAVE = "save"
    """KV is copied out to be saved."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What to compute now. Prompts and running sequences never share a batch: their kernels round differently, and a
    token's bits would depend on the neighbours."""

    phase: Phase
    chunks: tuple[Chunk, ...]
    trim: tuple[tuple[int, int], ...] = ()
    """(slot, length): KV at positions >= length is dropped before anything is computed, saved or restored."""
    copies: tuple[Copy, ...] = ()
    """Done before anything is dropped."""
    restore: Restore | None = None
    cuts: tuple[Cut, ...] = ()
    propose: Propose | None = None

    @property
    def n_tokens(self) -> int:
        return sum(len(chunk.tokens) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a Step."""

    drawn: tuple[tuple[int, Drawn | dict[str, Any]], ...]
    """(slot, token) for every chunk that asked, in order; several where drafts were drawn, up to the first that differs
    from its draft. A `FiresideError.to_dict()` where drawing failed for that slot. Of a decoding step's KV the slot
    keeps as many tokens as were drawn."""
    started: float
    finished: float
    """Seconds of a monotonic clock."""
    restored: bool = False
    """Of a RESTORE: the slot holds what was to be restored; otherwise it holds nothing."""
    draft_n: int = 0
    """Of a RESTORE: so many of these tokens the draft model got back as well."""
    kept: tuple[bool, ...] = ()
    """Of a SAVE: which cuts were taken over."""
    proposed: tuple[tuple[int, float], ...] = ()
    """Of a DRAFT: tokens and the draft model's probability of each."""
    failed: dict[str, Any] | None = None
    """`FiresideError.to_dict()` when the batch as a whole was not computed; the KV of its slots is undefined then."""

    @property
    def seconds(self) -> float:
        return self.finished - self.started

    def by_slot(self) -> dict[int, list[Drawn | dict[str, Any]]]:
        drawn: dict[int, list[Drawn | dict[str, Any]]] = {}
        for slot, outcome in self.drawn:
            drawn.setdefault(slot, []).append(outcome)
        return drawn
