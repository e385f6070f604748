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


def begin(slot: Slot) -> None:
    """Let an ended conversation settle: its whole tiles are computed again from the last cut of the prompt on.

    The tokens stay in the slot, and so does their KV, for now: who settles or takes the slot drops it.
    """
    end = slot.n // TILE * TILE
    start = slot.prefilled // TILE * TILE
    if end <= start or start < slot.floor:
        return
    slot.cut(start)
    slot.settle_to = end
