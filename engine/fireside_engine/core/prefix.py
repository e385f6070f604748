"""How much of a prompt is known already, and from where: the slot itself, another slot, or the disk. Pure.

A prompt is worth the tokens that need not be computed for it. What can be had differs in its price: KV of the own slot
is free, another slot's is copied in memory, blocks on disk are read and checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

from fireside_engine.core.divergence import Divergence
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.slot import Slot, common
from fireside_engine.core.window import TILE, last_cut, reusable

COPY_TOKENS = TILE
"""Copying another slot's KV has to spare at least this many tokens of prefill."""

DISPLACED = 0.25
"""What a token of somebody's KV in memory is worth, against one that is computed now: it is on disk as well."""

WORTH_WAITING = TILE
"""Tokens that have to be spared for a sequence to wait until another one's prompt is read."""

MOST_DISPLACED = 2 * TILE
"""What a whole conversation in memory is worth at most, so that among long ones the least recently used goes first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the disk has of a prompt."""

    n: int
    """Leading tokens whose KV is there."""
    prefilled: int
    """Of these, the leading ones that came from a prompt."""
    states: tuple[int, ...] = ()
    """Positions with a checkpoint, ascending: for memories that serve only as a whole."""
    seconds_per_token: float = 0.0
    """What bringing it back was measured to cost."""
    divergence: Divergence | None = None
    handle: Any = None
    """For who reads it; nobody here looks inside."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """Read KV from disk for a sequence that has its slot; the answer comes with `Scheduler.fetched`."""

    request_id: str
    offer: Offer
    n: int
    """Tokens wanted; where the memory needs one, there is a checkpoint at this position."""


@dataclass(frozen=True, slots=True)
class Use:
    """How memory may be used again."""

    cuttable: bool
    """KV can be cut after any token (plain attention); otherwise it serves as a whole, or from a checkpoint."""
    generated: bool
    """KV of generated tokens may serve as part of a prompt."""
    copies: bool
    """Slots can lend each other their KV."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a sequence goes, and what it finds there."""

    slot: Slot
    keep: int
    """Leading tokens of the slot's own KV that stay."""
    source: Slot | None = None
    """Copy the KV of this slot instead; `keep` tokens of it stay."""
    restore: int = 0
    """Bring this many tokens back from disk; `keep` is what remains if that fails."""
    divergence: Divergence | None = None


def restorable(offer: Offer, n_prompt: int, use: Use) -> int:
    """How many tokens of an offer may serve a prompt of `n_prompt` tokens."""
    most = reusable(offer.n, offer.prefilled, n_prompt, generated=use.generated)
    if use.cuttable:
        return most
    return max((p for p in offer.states if _fits(p, offer, n_prompt, use)), default=0)


def _fits(position: int, offer: Offer, n_prompt: int, use: Use) -> bool:
    """A checkpoint stands where a run without it would have cut the prompt, or where an answer ended."""
    if position > min(offer.n, n_prompt - 1):
        return False
    return use.generated or (position % TILE == 0 and position <= last_cut(n_prompt))


def worth_waiting(
    slots: Items[Slot], prefilling: Iterable[Slot], sequence: Sequence, offer: Offer | None, use: Use
) -> bool:
    """Whether a prompt that is being read shares so much with this one that copying it later is better than reading the
    same again now: several answers to one prompt, or clients with the same instructions."""
    if not use.cuttable:
        # Only memory that can be cut lends a part of itself.
        return False
    n_prompt = len(sequence.prompt)
    coming = 0
    for slot in prefilling:
        other = slot.sequence
        if other is not None and slot.scope == sequence.scope:
            shared = common(other.prompt, sequence.prompt)
            coming = max(coming, reusable(shared, len(other.prompt), n_prompt, generated=use.generated))
    if coming < WORTH_WAITING:
        return False
    now = [_keep(slot, slot.common(sequence.prompt), sequence, use) for slot in slots if slot.scope == sequence.scope]
    there = max([*now, restorable(offer, n_prompt, use) if offer is not None else 0], default=0)
    return coming - there >= WORTH_WAITING


def seat(slots: Items[Slot], sequence: Sequence, offer: Offer | None, use: Use, *, prefill_rate: float = 0.0) -> Seat:
    """The best place for a sequence; at least one slot is free.

    prefill_rate: measured tokens per second, 0 where unknown. Bringing KV back from disk has to be faster.
    """
    n_prompt = len(sequence.prompt)
    known = [(slot, slot.common(sequence.prompt) if slot.scope == sequence.scope else 0) for slot in slots]
    keeps = {slot.id: _keep(slot, shared, sequence, use) for slot, shared in known}
    free = [slot for slot in slots if slot.sequence is None]

    def own(slot: Slot) -> float:
        return keeps[slot.id] - _displaced(slot.n - keeps[slot.id])

    home = max(free, key=lambda slot: (own(slot), slot.n == 0, -slot.used, -slot.id))
    best = Seat(home, keeps[home.id])
    worth = own(home)
    emptiest = min(free, key=lambda slot: (slot.n != 0, slot.used, slot.id))
    if use.copies:
        lender = max(slots, key=lambda slot: keeps[slot.id])
        lent = keeps[lender.id]
        targets = [slot for slot in free if slot is not lender]
        if targets and lent:
            target = emptiest if emptiest is not lender else min(targets, key=lambda slot: (slot.n != 0, slot.used))
            value = lent - COPY_TOKENS - _displaced(target.n)
            if value > worth:
                best, worth = Seat(target, lent, source=lender), value
    restore = restorable(offer, n_prompt, use) if offer is not None else 0
    if offer is not None and restore > best.keep:
        value = restore - offer.seconds_per_token * prefill_rate * restore - _displaced(home.n)
        if value > worth:
            best = Seat(home, keeps[home.id], restore=restore)
    return Seat(best.slot, best.keep, best.source, best.restore, _divergence(known, sequence, offer))


def _displaced(tokens: int) -> float:
    return min(DISPLACED * tokens, MOST_DISPLACED)


def _keep(slot: Slot, common: int, sequence: Sequence, use: Use) -> int:
    n_prompt = len(sequence.prompt)
    if sequence.hasty and use.generated and use.cuttable:
        keep = min(common, n_prompt - 1)
    else:
        keep = reusable(common, slot.prefilled, n_prompt, generated=use.generated)
    if keep < slot.n and (not use.cuttable or keep < slot.floor):
        return 0
    return keep


def _divergence(known: Items[tuple[Slot, int]], sequence: Sequence, offer: Offer | None) -> Divergence | None:
    """Where the prompt leaves the nearest thing that is known; None when it only goes on from there."""
    slot, common = max(known, key=lambda pair: pair[1])
    if offer is not None and offer.n >= common:
        return offer.divergence
    if 0 < common < min(slot.n, len(sequence.prompt)):
        return Divergence(common, int(slot.tokens[common]))
    return None
