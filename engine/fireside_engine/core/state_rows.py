"""What a sequence's memory is made of, and rows of it on their way out and in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fireside_engine.core.state_layout import Layout


class MemoryClass(StrEnum):
    """What a sequence's memory is made of."""

    ATTENTION = "attention"
    """Rows: can be cut after any token."""
    WINDOWED = "windowed"
    """Rows of the layers that see everything, and the last rows of those that see a window, which are a state."""
    HYBRID = "hybrid"
    """Rows of the layers with attention, and a recurrent state; perhaps a window as well."""
    RECURRENT = "recurrent"
    """Only a state."""
    OPAQUE = "opaque"
    """Neither cut nor restored."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the tokens [start, start + count), within one block."""

    start: int
    count: int
    payload: memoryview
    """count * row_bytes, its own memory."""


@dataclass(frozen=True, slots=True)
class RowsUse:
    """The first `n_used` of `n_stored` rows that were cut from `start` on."""

    start: int
    n_used: int
    n_stored: int
    payload: bytes | bytearray | memoryview


def class_of(layout: Layout) -> MemoryClass:
    if not layout.row_bytes:
        return MemoryClass.RECURRENT
    if layout.recurrent is not None:
        return MemoryClass.HYBRID
    return MemoryClass.ATTENTION if layout.window is None else MemoryClass.WINDOWED


def covers(rows: Sequence[RowsUse], row_bytes: int, n: int) -> bool:
    """Whether rows follow on each other from 0 to n and have the size that they say."""
    if not row_bytes:
        return not rows
    at = 0
    for use in rows:
        size = memoryview(use.payload).nbytes
        if use.start != at or not 0 < use.n_used <= use.n_stored or size != use.n_stored * row_bytes:
            return False
        at += use.n_used
    return at == n
