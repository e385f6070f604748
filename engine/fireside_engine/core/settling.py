"""Computing generated tokens again as a prompt would have them, while nothing else is to do. Pure.

Where tiles and single steps round differently, `deterministic` cannot use the KV of generated tokens: the next prompt
would have to compute the whole last answer. It is done when the answer has ended, one tile at a time, and any request
goes first.
"""

from __future__ import annotations

from fireside_engine.core.slot import Slot
from fireside_engine.core.window import TILE


def unsettled(slot: Slot) -> bool:
    """Whether an idle slot has whole tiles of generated tokens."""
    return slot.sequence is None and slot.settle_to > slot.n


def begin(slot: Slot) -> int | None:
    """Let an ended conversation settle. Returns what its KV is to be cut to, or None when there is nothing to do.

    The tokens stay in the slot; those of whole tiles are computed again from the last cut of the prompt on.
    """
    end = slot.n // TILE * TILE
    start = slot.prefilled // TILE * TILE
    if end <= start or start < slot.floor:
        return None
    slot.cut(start)
    slot.settle_to = end
    return start
