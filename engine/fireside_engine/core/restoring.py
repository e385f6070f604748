"""KV on its way from disk: asked for, read, put into the slot that waits for it. Pure state; the scheduler's."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from fireside_engine.core.divergence import Divergence
from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer, Use, restorable
from fireside_engine.core.slot import Slot
from fireside_engine.core.step import Restore


@dataclass(frozen=True, slots=True, eq=False)
class Coming:
    """A sequence in its slot whose KV is being read."""

    slot: Slot
    fetch: Fetch
    divergence: Divergence | None


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """The first `n` tokens of a fetch are in use."""

    fetch: Fetch
    n: int
    owner: Owner | None
    """For whom; None: what it computes is not saved."""


class Restoring:
    """All of one scheduler."""

    def __init__(self) -> None:
        self._coming: dict[str, Coming] = {}
        self._wanted: list[Fetch] = []
        self._read: deque[tuple[Coming, Any]] = deque()
        self._restored: list[Restored] = []

    def __len__(self) -> int:
        """Sequences that wait for KV."""
        return len(self._coming)

    @property
    def is_ready(self) -> bool:
        """Something was read and can be put into its slot."""
        return bool(self._read)

    def want(self, coming: Coming) -> None:
        self._coming[coming.fetch.request_id] = coming
        self._wanted.append(coming.fetch)

    def take_wanted(self) -> list[Fetch]:
        """What is to be read, each once."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def arrived(self, request_id: str, payload: Any | None, n: int, use: Use) -> Coming | None:
        """What the disk had: KV of the first `n` tokens. Returns the sequence that has to begin without it, if any.

        Fewer tokens than were wanted are of use as far as a prompt may be cut there.
        """
        coming = self._coming.get(request_id)
        if coming is None or payload is None:
            return self._coming.pop(request_id, None)
        fetch, sequence = coming.fetch, coming.slot.sequence
        if n < fetch.n and sequence is not None:
            rest = Offer(n, min(fetch.offer.prefilled, n))
            usable = restorable(rest, len(sequence.prompt), use)
            if usable <= coming.slot.n:
                return self._coming.pop(request_id)
            fetch = replace(fetch, n=usable, offer=replace(fetch.offer, prefilled=rest.prefilled))
            coming = self._coming[request_id] = replace(coming, fetch=fetch)
        self._read.append((coming, payload))
        return None

    def next(self) -> Restore:
        """What is to be put where; it stays the next one until `finish`."""
        coming, payload = self._read[0]
        return Restore(coming.slot.id, coming.fetch.n, payload)

    def finish(self, *, done: bool) -> Coming:
        """The next one is in its slot, or cannot be put there."""
        coming, _ = self._read.popleft()
        del self._coming[coming.fetch.request_id]
        if done:
            self._restored.append(Restored(coming.fetch, coming.fetch.n, coming.slot.owner))
        return coming

    def take_restored(self) -> list[Restored]:
        """What was brought back, each once."""
        restored, self._restored = self._restored, []
        return restored

    def drop(self, request_id: str) -> None:
        """The sequence ended meanwhile."""
        if self._coming.pop(request_id, None) is not None:
            self._read = deque(read for read in self._read if read[0].fetch.request_id != request_id)
