"""The exact window: which batches give the bits of single steps, and how a model is driven because of it.

Whether a batch of n tokens rounds like n single steps depends on the kernels that its size selects. A probe at load
compares the bits; the rules for batches follow from what it saw. Two classes exist:

* the *window*: sizes 1..w, bit-identical to single steps (running sequences share these);
* the *tile*: the smallest chunk from which on all chunks of a prompt give the same bits. llama.cpp's CPU flash
  attention has a tiled path for f16 from 64 rows on (ggml-cpu/ops.cpp, GGML_FA_TILE_Q), so 64 serves every KV type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TILE = 64
"""Prompts are cut at multiples of this; it divides the 256 tokens of a KV block."""

SHORTEST_TAIL = 16
"""A prompt's rest below this joins the tile before it: tiny batches cost nearly as much as large ones."""

UNLIMITED = 0
"""As a window: every batch size is exact."""

WORTH_IT = 1.35
"""Running sequences stay inside the window, without being asked to, as long as a token costs at most this much more."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe saw on this machine for this model and KV type."""

    equal: Mapping[int, bool]
    """Batch size -> were all logits bit-identical to single steps."""
    seconds: Mapping[int, float]
    """Batch size -> time of one batch; 1 is a single step."""
    prefill_equal: bool
    """Whole tiles gave the bits of single steps."""

    @property
    def window(self) -> int:
        """Largest w such that all probed sizes 2..w are exact; UNLIMITED if all are, prefill included."""
        exact = 1
        for size in sorted(self.equal):
            if not self.equal[size]:
                return exact
            exact = size
        return UNLIMITED if self.prefill_equal else exact


def decode_width(probe: Probe, n_slots: int, *, deterministic: bool) -> int:
    """How many sequences decode in one batch.

    `deterministic` never leaves the window. Otherwise the window is kept while it is cheap, because then the same seed
    gives the same text in company too; where it costs too much, batches are as wide as there are slots.
    """
    window = probe.window
    if window == UNLIMITED or window >= n_slots:
        return n_slots
    if deterministic:
        return window
    per_token = {size: seconds / size for size, seconds in probe.seconds.items() if size <= n_slots}
    inside = min(cost for size, cost in per_token.items() if size <= window)
    return window if inside <= WORTH_IT * min(per_token.values()) else n_slots


def last_cut(n_tokens: int) -> int:
    """Where the last piece of a prompt of `n_tokens` begins: a multiple of TILE that depends on the length alone."""
    cut = n_tokens // TILE * TILE
    if n_tokens - cut < SHORTEST_TAIL:
        cut -= TILE
    return max(0, cut)


def next_cut(start: int, n_tokens: int, budget: int) -> int:
    """End of the piece of a prompt that begins at `start`, about `budget` tokens long.

    From a multiple of TILE on, pieces end at multiples of TILE and the last piece stands alone, so that every token is
    computed in a batch of the same class however the prompt is cut. From anywhere else the rest is cut as it comes.
    """
    if start % TILE:
        return min(n_tokens, start + max(budget, TILE))
    last = last_cut(n_tokens)
    if start >= last:
        return n_tokens
    return min(last, start + max(TILE, budget // TILE * TILE))


def reusable(common: int, prefilled: int, n_tokens: int, *, generated: bool) -> int:
    """How much of a slot's KV a prompt of `n_tokens` may keep when the first `common` tokens agree.

    prefilled: tokens of the slot that came from a prompt; what follows was generated one by one.
    generated: whether KV of generated tokens may serve as part of a prompt (not in `deterministic`, unless every batch
    is exact). A conversation that goes on keeps everything; a prompt that is repeated or edited goes back to a cut, so
    that the answer's bits are those of a first run. At least one token is always computed: logits are not stored.
    """
    if generated and common > prefilled:
        return min(common, n_tokens - 1)
    return min(min(common, prefilled) // TILE * TILE, last_cut(n_tokens))
