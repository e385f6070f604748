"""The bytes of a sequence's state as llama.cpp writes them: where the rows of each token lie.

Pure. Written after `state_write` of llama-kv-cache.cpp and llama-memory-recurrent.cpp (llama.cpp 0c1e57098):

    state     = u32 magic | i32 sequence | part...
    attention = u32 n_stream | for each stream: u32 count, and where count > 0:
                count x cell | u32 v_trans | u32 n_layer | n_layer x section of K | n_layer (or 0) x section of V
    cell      = i32 position | u32 1 | [12 bytes: x, y, token] | i32 sequence
    section   = i32 type | u64 row | count x row bytes
    recurrent = u32 1 | i32 position | u32 0 | u32 0 | u32 n_layer | section with one row...

The parts are one attention cache, or a second one that holds a window, or recurrent layers, in that order. A layout is
found by parsing a state whose number of tokens is known; whatever does not parse to its last byte is not understood.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

MAGIC = 0xAF143CD8
HEAD = 8
"""Bytes before the first part: magic and the sequence, which is ignored on reading."""
VERSION = 1
"""Of the payloads that are made with a layout; part of its fingerprint."""

_SECTION = struct.Struct("<iQ")
_PAIR = struct.Struct("<II")
_CELL = 12
_EXT = 12
_MAX_LAYERS = 4096
_RECURRENT = struct.Struct("<IiIII")


@dataclass(frozen=True, slots=True)
class Section:
    """What one layer keeps of K or V for each token."""

    type: int
    """ggml_type"""
    row: int
    """bytes"""


@dataclass(frozen=True)
class Cache:
    """An attention cache. Inside a payload the rows of a token are: its `ext`, K of all layers, V of all layers."""

    ext: int
    """Bytes of a cell beyond position and sequence: positions in two dimensions, and the token."""
    k: tuple[Section, ...]
    v: tuple[Section, ...]

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        return self.k + self.v

    @cached_property
    def row_bytes(self) -> int:
        return self.ext + sum(section.row for section in self.sections)

    def size(self, count: int, n_stream: int) -> int:
        """Bytes in a state of `count` tokens."""
        if count == 0:
            return 4 * (1 + n_stream)
        headers = _PAIR.size + _SECTION.size * len(self.sections)
        return 4 * (1 + n_stream) + headers + count * (_CELL + self.row_bytes)

    def parts(self, count: int) -> Iterator[tuple[int, int, int]]:
        """(row bytes, begin in a payload of `count` tokens, begin in a state from its first section on) of each part
        with rows; the `ext` is not among them."""
        payload, state = count * self.ext, _SECTION.size
        for section in self.sections:
            yield section.row, payload, state
            payload += count * section.row
            state += count * section.row + _SECTION.size


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Recurrent layers: one state of constant size for a whole sequence."""

    n_layer: int
    sections: tuple[Section, ...]

    @property
    def size(self) -> int:
        return _RECURRENT.size + sum(_SECTION.size + section.row for section in self.sections)


@dataclass(frozen=True)
class Layout:
    """What a state is made of."""

    rows: Cache | None
    window: Cache | None
    recurrent: Recurrent | None

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes. Payloads of layouts with the same fingerprint fit into each other's place."""
        words = repr((VERSION, self.rows, self.window, self.recurrent))
        return hashlib.blake2b(words.encode(), digest_size=16).digest()

    @property
    def row_bytes(self) -> int:
        return self.rows.row_bytes if self.rows else 0


# --- finding a layout


def find(full: Bytes, partial: Bytes, count: int, n_stream: int) -> Layout | None:
    """The layout of a context, from the state of a sequence of `count` tokens: whole, and without the rows that are
    kept for ever. None where it is not understood."""
    if min(len(full), len(partial)) < HEAD or any(_u32(data, 0) != MAGIC for data in (full, partial)):
        return None
    found = {
        layout
        for ext in (0, _EXT)
        for shape in ("A", "AW", "AR", "AWR", "R")
        for layout in _parse(full, HEAD, shape, count, n_stream, ext)
        if _size(layout, count, n_stream, with_rows=_all_is_partial(layout)) == len(partial) - HEAD
    }
    if len(found) != 1:
        return None
    layout = found.pop()
    tail = full[len(full) - (len(partial) - HEAD) :]
    return layout if np.array_equal(tail, partial[HEAD:]) else None


def _all_is_partial(layout: Layout) -> bool:
    """llama.cpp ignores PARTIAL_ONLY where a cache has only rows."""
    return layout.window is None and layout.recurrent is None


def _size(layout: Layout, count: int, n_stream: int, *, with_rows: bool) -> int:
    size = layout.rows.size(count, n_stream) if layout.rows and with_rows else 0
    size += layout.window.size(count, n_stream) if layout.window else 0
    return size + (layout.recurrent.size if layout.recurrent else 0)


def _parse(data: Bytes, at: int, shape: str, count: int, n_stream: int, ext: int) -> Iterator[Layout]:
    """All ways to read the rest of `data` as the parts named in `shape`, to the last byte."""
    if shape.startswith("R"):
        recurrent = _recurrent(data, at, count)
        if recurrent is not None:
            yield Layout(None, None, recurrent)
        return
    for cache, end in _caches(data, at, count, n_stream, ext):
        rest = shape[1:]
        if not rest and end == len(data):
            yield Layout(cache, None, None) if shape == "A" else Layout(None, cache, None)
        elif rest:
            for layout in _parse(data, end, rest, count, n_stream, ext):
                if shape[0] == "A":
                    yield Layout(cache, layout.window, layout.recurrent)
                else:
                    yield Layout(None, cache, layout.recurrent)


def _caches(data: Bytes, at: int, count: int, n_stream: int, ext: int) -> Iterator[tuple[Cache, int]]:
    """An attention cache with one stream that has cells, and its end; with V, and where that is possible without."""
    end = at + 4 * (1 + n_stream) + count * (_CELL + ext) + _PAIR.size
    if count == 0 or end > len(data) or _u32(data, at) != n_stream:
        return
    stream = next((s for s in range(n_stream) if _u32(data, at + 4 * (1 + s))), n_stream)
    cells = at + 4 * (2 + stream)
    if stream == n_stream or _u32(data, cells - 4) != count:
        return
    v_trans, n_layer = _PAIR.unpack_from(data.data, cells + count * (_CELL + ext))
    if v_trans != 0 or n_layer > _MAX_LAYERS:
        return
    zeros = 4 * (n_stream - stream - 1)
    place = cells + count * (_CELL + ext) + _PAIR.size
    read = _sections(data, place, n_layer, count)
    if read is None:
        return
    k, place = read
    ends = [((), place)] if n_layer else []
    both = _sections(data, place, n_layer, count)
    for v, finish in [*([both] if both is not None else []), *ends]:
        if finish + zeros <= len(data) and not data[finish : finish + zeros].any():
            yield Cache(ext, k, tuple(v)), finish + zeros


def _sections(data: Bytes, at: int, n: int, count: int) -> tuple[tuple[Section, ...], int] | None:
    found = []
    for _ in range(n):
        if at + _SECTION.size > len(data):
            return None
        kind, row = _SECTION.unpack_from(data.data, at)
        at += _SECTION.size + row * count
        if at > len(data):
            return None
        found.append(Section(kind, row))
    return tuple(found), at


def _recurrent(data: Bytes, at: int, count: int) -> Recurrent | None:
    """Sections of R, then of S, of the layers that are recurrent: two for each, to the end of the data."""
    if at + _RECURRENT.size > len(data):
        return None
    cells, position, ids, s_trans, n_layer = _RECURRENT.unpack_from(data.data, at)
    if (cells, position, ids, s_trans) != (1, count - 1, 0, 0) or n_layer > _MAX_LAYERS:
        return None
    at += _RECURRENT.size
    found: list[Section] = []
    while at < len(data):
        read = _sections(data, at, 1, 1)
        if read is None or len(found) == 2 * n_layer:
            return None
        found += read[0]
        at = read[1]
    return Recurrent(n_layer, tuple(found)) if found and len(found) % 2 == 0 else None


def _u32(data: Bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", data.data, at)[0]
    return value


# --- reading and writing with a known layout


def cell_type(ext: int) -> np.dtype[np.void]:
    """A cell as a numpy record."""
    return np.dtype([("position", "<i4"), ("ids", "<u4"), ("ext", "u1", (ext,)), ("sequence", "<i4")])


@dataclass(frozen=True, slots=True)
class Placed:
    """An attention cache found in a state: its cells, and the data from its first section on."""

    cells: NDArray[np.void]
    data: Bytes
    end: int
    """Of the cache in the state."""


def locate(data: Bytes, at: int, cache: Cache, n_stream: int) -> Placed | None:
    """A cache with cells at `at`; None where it does not look as the layout says."""
    if at + 4 * (1 + n_stream) > len(data) or _u32(data, at) != n_stream:
        return None
    counts = data[at + 4 : at + 4 * (1 + n_stream)]
    filled = next((s for s in range(n_stream) if _u32(counts, 4 * s)), None)
    if filled is None:
        return None
    count = _u32(counts, 4 * filled)
    end = at + cache.size(count, n_stream)
    begin = at + 4 * (2 + filled)
    first = begin + count * (_CELL + cache.ext) + _PAIR.size
    if end > len(data) or _PAIR.unpack_from(data.data, first - _PAIR.size) != (0, len(cache.k)):
        return None
    zeros = 4 * (n_stream - filled - 1)
    if data[end - zeros : end].any():
        return None
    sections = data[first : end - zeros]
    for section, (_, _, place) in zip(cache.sections, cache.parts(count), strict=True):
        if _SECTION.unpack_from(sections.data, place - _SECTION.size) != (section.type, section.row):
            return None
    cells = data[begin : first - _PAIR.size].view(cell_type(cache.ext))
    return Placed(cells, sections, end) if (cells["ids"] == 1).all() else None


def begin(data: Bytes, at: int, cache: Cache, positions: NDArray[np.int32], slot: int, n_stream: int) -> Placed:
    """Write everything of a cache but `ext` and rows; `data` has room for it."""
    count = len(positions)
    placed_at = at + 4 * (2 + slot)
    first = placed_at + count * (_CELL + cache.ext) + _PAIR.size
    end = at + cache.size(count, n_stream)
    head = [n_stream, *[0] * slot, count]
    struct.pack_into(f"<{len(head)}I", data.data, at, *head)
    cells = data[placed_at : first - _PAIR.size].view(cell_type(cache.ext))
    cells["position"], cells["ids"], cells["sequence"] = positions, 1, slot
    _PAIR.pack_into(data.data, first - _PAIR.size, 0, len(cache.k))
    zeros = 4 * (n_stream - slot - 1)
    data[end - zeros : end] = 0
    sections = data[first : end - zeros]
    for section, (_, _, place) in zip(cache.sections, cache.parts(count), strict=True):
        _SECTION.pack_into(sections.data, place - _SECTION.size, section.type, section.row)
    return Placed(cells, sections, end)


def take(cache: Cache, placed: Placed, start: int, stop: int, payload: Bytes) -> None:
    """Rows [start, stop) of a state become a payload of (stop - start) * row_bytes."""
    count, n = len(placed.cells), stop - start
    if cache.ext:
        payload[: n * cache.ext].reshape(n, cache.ext)[:] = placed.cells["ext"][start:stop]
    for (row, there, _), (_, _, here) in zip(cache.parts(n), cache.parts(count), strict=True):
        payload[there : there + n * row] = placed.data[here + start * row : here + stop * row]


def put(cache: Cache, placed: Placed, start: int, n_used: int, payload: Bytes, n_stored: int) -> None:
    """The first `n_used` rows of a payload become rows of a state from `start` on."""
    count = len(placed.cells)
    if cache.ext:
        ext = payload[: n_used * cache.ext].reshape(n_used, cache.ext)
        placed.cells["ext"][start : start + n_used] = ext
    for (row, there, _), (_, _, here) in zip(cache.parts(n_stored), cache.parts(count), strict=True):
        placed.data[here + start * row : here + (start + n_used) * row] = payload[there : there + n_used * row]


def reorder(cache: Cache, placed: Placed, order: NDArray[np.intp]) -> bytes:
    """A cache of one stream with the cells in this order."""
    count = len(order)
    data = np.empty(cache.size(count, 1), np.uint8)
    copy = begin(data, 0, cache, placed.cells["position"][order], 0, 1)
    copy.cells["ext"] = placed.cells["ext"][order]
    for row, _, at in cache.parts(count):
        there = copy.data[at : at + count * row].reshape(count, row)
        np.take(placed.data[at : at + count * row].reshape(count, row), order, axis=0, out=there)
    return data.tobytes()


def spread(cache: Cache, source: Placed, target: Placed, cells: NDArray[np.intp]) -> None:
    """Row i of one state becomes row `cells[i]` of another."""
    count, total = len(source.cells), len(target.cells)
    target.cells["ext"][cells] = source.cells["ext"]
    for (row, _, here), (_, _, there) in zip(cache.parts(count), cache.parts(total), strict=True):
        rows = target.data[there : there + total * row].reshape(total, row)
        rows[cells] = source.data[here : here + count * row].reshape(count, row)


def recurrent_position(data: Bytes, at: int, recurrent: Recurrent) -> int | None:
    """The position of a recurrent state that goes to the end of `data`; None where it is not as the layout says."""
    if at + recurrent.size != len(data):
        return None
    cells, position, ids, s_trans, n_layer = _RECURRENT.unpack_from(data.data, at)
    if (cells, ids, s_trans, n_layer) != (1, 0, 0, recurrent.n_layer):
        return None
    at += _RECURRENT.size
    for section in recurrent.sections:
        if _SECTION.unpack_from(data.data, at) != (section.type, section.row):
            return None
        at += _SECTION.size + section.row
    return int(position)
