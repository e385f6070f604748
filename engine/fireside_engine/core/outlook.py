"""What a model that is not here would take, from the size of its file alone, and which of several is fetched first.

Nothing is asked of the network for it, so nothing is known of its layers: memory and speed are rough, and the header,
once it is fetched, tells them exactly (`fireside models fit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import GIB, MIB, Machine
from fireside_engine.core.quality import SPEED_CLASS
from fireside_engine.core.speed import Book, bandwidth

FIRST_SIZE = 1_300_000_000
"""Bytes of the first download: two minutes at 100 Mbit/s."""
UPGRADE_SIZE = 6_500_000_000
"""Bytes of the upgrade that is offered beside the best one."""
FAST_ENOUGH = 8.0
"""Tokens a second, about as fast as people read."""
_CONTEXT = GIB
"""Of KV for some thousand tokens, and activations; models of today take a half to two."""
_PROCESS = 200 * MIB
_STEP = 0.2e-3


@dataclass(frozen=True, slots=True)
class Download:
    """A model that could be fetched."""

    name: str
    size: int
    """Bytes of the file."""
    quant: str
    active_share: float = 1.0
    """The part of its parameters that computes one token."""
    offered: bool = True
    """Made for chat, and all about it is confirmed: it may be proposed unasked."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """About so much; all of it rough."""

    memory: int
    tokens_per_second: float
    fits: bool


def outlook(download: Download, machine: Machine, book: Book) -> Outlook:
    """On a graphics card where one holds it all, else in main memory."""
    memory = round(download.size * 1.03) + _CONTEXT + _PROCESS
    pool = next((pool for pool in machine.gpus if pool.budget >= memory), machine.host)
    share = SPEED_CLASS.get(download.quant.upper().removeprefix("UD-"), 0.75)
    read = download.size * download.active_share / (bandwidth(machine, book, pool.name) * share)
    # What was learned is of main memory.
    rate = book.rate(download.quant, "").factor if pool.name == HOST else 1.0
    return Outlook(memory, 1 / (_STEP + read * rate), memory <= pool.budget)


def propose(downloads: Sequence[tuple[Download, Outlook]]) -> tuple[str, ...]:
    """Names to propose to somebody who has none: the first download, then up to two larger ones. `downloads` are in
    the order of preference. The first is the best that is small, fits and is fast enough; where none is fast enough,
    the fastest that fits."""
    fitting = [(one, seen) for one, seen in downloads if one.offered and seen.fits]
    fast = [(one, seen) for one, seen in fitting if seen.tokens_per_second >= FAST_ENOUGH]
    first = next((one for one, _ in fast if one.size <= FIRST_SIZE), None)
    if first is None:
        slow = max(fitting, key=lambda pair: pair[1].tokens_per_second, default=None)
        return (slow[0].name,) if slow is not None else ()
    larger = [one for one, _ in fast if one.size > first.size]
    modest = next((one for one in larger if one.size <= UPGRADE_SIZE), None)
    best = next((one for one in larger if one is not modest), None)
    return tuple(one.name for one in (first, modest, best) if one is not None)
