"""Who is served next when several clients ask one model, and who may wait for it. Pure.

Clients are served by what they were given: of those that wait, the one for which least was computed lately goes first,
and within a client, who came first. Who comes back begins where the least served of those present stands, so that
nobody saves up a claim by staying away (the virtual counter of Sheng et al., "Fairness in Serving Large Language
Models", 2024, in seconds of computing instead of tokens).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from collections.abc import Sequence as Items

from fireside_engine.core.sequence import Sequence
from fireside_engine.core.slot import Slot

LATELY = 60.0
"""Seconds for which the last free slot is kept for a client that was here: an editor asks again any moment, and should
neither wait for the answers of a busy neighbour nor lose its KV to them."""

GREED = 3
"""A client may have as many requests as this many times what is free (dynamic thresholds of Choudhury and Hahne, 1998):
alone three quarters of the room, and the more others wait, the less, so that something always stays free."""

_MOST_NAMES = 256


def may_enter(own: int, total: int, count: int, room: int) -> bool:
    """Whether a client that has `own` of `total` requests here may bring `count` more, where `room` are taken in."""
    return total + count <= room and own + count <= GREED * (room - total)


class FairQueue:
    """Sequences that wait for a slot."""

    def __init__(self) -> None:
        self._waiting: list[Sequence] = []
        """In the order of their arrival."""
        self._given: dict[str, float] = {}
        """Seconds of computing, by client."""
        self._seen: dict[str, float] = {}
        """When each client was last here."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(tuple(self._waiting))

    def add(self, sequence: Sequence, slots: Items[Slot]) -> None:
        present = {*(each.client for each in self._waiting), *_holding(slots)}
        client = sequence.client
        if client not in present:
            self._forget(present)
            floor = min((self._given.get(name, 0.0) for name in present), default=0.0)
            self._given[client] = max(self._given.get(client, 0.0), floor)
        self._seen[client] = max(self._seen.get(client, 0.0), sequence.submitted)
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        self._waiting.remove(sequence)

    def charge(self, client: str, seconds: float, now: float) -> None:
        """Something was computed for it."""
        self._given[client] = self._given.get(client, 0.0) + seconds
        self._seen[client] = max(self._seen.get(client, 0.0), now)

    def next(self, slots: Items[Slot], now: float, skip: Collection[Sequence] = ()) -> Sequence | None:
        """The next one to get a slot; it stays in the queue. None where no slot is free, or only one for others."""
        n_free = sum(slot.sequence is None for slot in slots)
        if not n_free or not self._waiting:
            return None
        holding = _holding(slots)
        firsts: dict[str, Sequence] = {}
        for sequence in self._waiting:
            if sequence not in skip:
                firsts.setdefault(sequence.client, sequence)
        allowed = [each for each in firsts.values() if n_free > 1 or not self._keeps_free(each.client, holding, now)]
        return min(allowed, key=lambda each: (self._given.get(each.client, 0.0), holding[each.client]), default=None)

    def _keeps_free(self, client: str, holding: Counter[str], now: float) -> bool:
        """Is the last slot for somebody else?"""
        if not holding[client]:
            return False
        return any(now - seen < LATELY for name, seen in self._seen.items() if name != client and not holding[name])

    def _forget(self, present: Collection[str]) -> None:
        """Names of clients are the clients' own, so there may be any number of them."""
        if not present:
            self._given.clear()
        if len(self._seen) >= _MOST_NAMES:
            self._seen = {name: self._seen[name] for name in present if name in self._seen}
            self._given = {name: self._given[name] for name in present if name in self._given}


def _holding(slots: Items[Slot]) -> Counter[str]:
    """Slots of each client."""
    return Counter(slot.sequence.client for slot in slots if slot.sequence is not None)
