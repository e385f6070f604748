"""When KV is copied out of a slot to be saved. Pure.

Copying costs the whole slot, so it is done in strides that grow with the conversation: the cost for each token stays
the same. What a conversation has at its end is saved wholly, its last, partly filled block included.
"""

from __future__ import annotations

from dataclasses import dataclass

from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.slot import Slot
from fireside_engine.core.step import Cut
from fireside_engine.core.window import last_cut

STRIDE_SHARE = 16
"""While a conversation of n tokens grows, it is saved every n / 16 tokens, and never more often than every block."""

WORTH_SAVING = 16
"""Less than this is computed faster than it is looked up."""


@dataclass(frozen=True, slots=True)
class Saves:
    """What one model's memory needs to be saved."""

    enabled: bool = False
    checkpoints: bool = False
    """KV blocks do not suffice: sliding windows and recurrent state come back at checkpoints only."""
    interval: int = 1024
    """Tokens between two checkpoints of a long prompt."""
    generated: bool = True
    """KV of generated tokens may serve again."""


def due(slot: Slot, saves: Saves, *, n_prompt: int, ended: bool) -> Cut | None:
    """What is to be saved of a slot now.

    n_prompt: length of the prompt that the slot works on. ended: nothing more is computed for this conversation.
    """
    if not saves.enabled or slot.owner is None or (slot.n < slot.retry and not ended):
        return None
    limit = slot.n if saves.generated else min(slot.n, slot.prefilled)
    if saves.checkpoints:
        wanted = ended or slot.n == last_cut(n_prompt) or slot.n - slot.state >= saves.interval
        if not wanted or slot.n != limit or slot.n <= slot.state or slot.n < WORTH_SAVING:
            return None
        return _cut(slot, slot.n, state=True)
    if ended:
        return _cut(slot, limit, state=False) if limit > slot.saved and limit >= WORTH_SAVING else None
    stop = limit // BLOCK * BLOCK
    fresh = stop - slot.saved // BLOCK * BLOCK
    return _cut(slot, stop, state=False) if fresh >= max(BLOCK, slot.n // STRIDE_SHARE) else None


def _cut(slot: Slot, stop: int, *, state: bool) -> Cut:
    if slot.owner is None:
        raise AssertionError("KV of nobody is saved")
    return Cut(
        slot=slot.id,
        start=min(slot.saved, stop) // BLOCK * BLOCK,
        stop=stop,
        n=slot.n,
        tokens=slot.tokens[:stop].copy(),
        prefilled=min(slot.prefilled, stop),
        state=state,
        scope=slot.scope,
        owner=slot.owner,
    )
