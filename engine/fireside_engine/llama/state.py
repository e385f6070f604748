"""Cuts KV out of a running context and puts it back: rows of tokens, and states that cannot be cut into tokens.

What llama.cpp 0c1e57098 does, as proven by tests/contract/test_state.py and tests/model/test_state_models.py:

* Slots are streams of their own, so `seq_cp` of a part aborts the process. A range of tokens is therefore cut from the
  state of the whole sequence, and a restored sequence is one spliced state, as llama.cpp itself would have written it.
* Windows are rings of cells, and attention sums in the order of cells. A restored window goes into the cells where
  computing would have put it; see `_set_ring`.
* Rows are stored after RoPE, so a row is valid at its own position only, and only with everything before it.
* llama.cpp checks sizes and types, not content. Whoever calls `restore` has verified a checksum of what is given;
  sizes, headers and positions are checked here, because a wrong position is accepted there, or aborts the process.
* Logits are no part of a state: after a restore at least one token must be computed.
* Not carried: a shift of positions that is still pending. Nothing here shifts.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core import state_layout as layouts
from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.state_layout import HEAD, MAGIC, Bytes, Cache, Layout, Placed
from fireside_engine.core.state_rows import MemoryClass, Rows, RowsUse, class_of, covers
from fireside_engine.errors import InternalError
from fireside_engine.llama.buffer import Buffer
from fireside_engine.llama.context import Context
from fireside_engine.llama.library import api

_PROBE = 3
_WHOLE, _PARTIAL = 0, 1
"""LLAMA_STATE_SEQ_FLAGS_NONE and _PARTIAL_ONLY."""


@dataclass(frozen=True, slots=True)
class _State:
    """A checkpoint, taken apart."""

    window: Placed | None
    recurrent: Bytes


class StateAccess:
    """One for each context, used by the thread that decodes.

    Finding the layout computes a few tokens in slot 0, which is empty afterwards. A context whose layout is not
    understood raises nothing: it is OPAQUE, and `why` says so in a sentence.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._n_slots = max(1, context.options.n_slots)
        self._buffer = Buffer()
        self._ring = self._ring_size()
        found = self._probe()
        self._layout = found if isinstance(found, Layout) else Layout(None, None, None)
        self._buffer.largest = self._size_of(context.n_ctx)
        self.why = "" if isinstance(found, Layout) else found
        self.memory_class = MemoryClass.OPAQUE if self.why else class_of(self._layout)

    # --- what there is

    @property
    def fingerprint(self) -> bytes:
        """Of the layout of rows and states: payloads of equal fingerprints have the same form. It does not depend on
        the number of slots or the length of the context."""
        return self._layout.fingerprint

    @property
    def row_bytes(self) -> int:
        """Bytes of the rows of one token; 0 where there is only a state."""
        return self._layout.row_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of a checkpoint at most; 0 where none is needed."""
        window, recurrent = self._layout.window, self._layout.recurrent
        size = recurrent.size if recurrent else 0
        return size + (window.size(min(self._context.n_swa, self._context.n_ctx), 1) if window else 0)

    @property
    def resident(self) -> int:
        """Bytes kept for the next cut or restore."""
        return self._buffer.touched

    def release(self) -> None:
        """Give back the memory that is kept between calls; for when nothing was cut for a while."""
        self._buffer.release()

    # --- out

    def cut(self, slot: int, start: int, stop: int, n: int) -> list[Rows]:
        """Rows of the tokens [start, stop) of a slot that holds `n`, split at multiples of BLOCK.

        Copies the whole sequence once, so it costs by `n`, not by what is cut. Raises InternalError where the slot
        does not hold the positions 0..n-1, and MemoryError.
        """
        cache = self._layout.rows
        if cache is None or not cache.row_bytes:
            return []
        if not 0 <= start <= stop <= n:
            raise InternalError(f"tokens [{start}, {stop}) of {n} cannot be cut")
        if start == stop:
            return []
        data = self._read(slot, _WHOLE)
        placed = layouts.locate(data, HEAD, cache, self._n_slots)
        if placed is None or not _is_range(placed.cells["position"], 0, n):
            raise InternalError(f"slot {slot} does not hold the {n} tokens that it should")
        cut = []
        while start < stop:
            end = min(stop, start // BLOCK * BLOCK + BLOCK)
            payload = np.empty((end - start) * cache.row_bytes, np.uint8)
            layouts.take(cache, placed, start, end, payload)
            cut.append(Rows(start, end - start, payload.data))
            start = end
        return cut

    def checkpoint(self, slot: int, n: int | None = None) -> bytes | None:
        """The state of a slot's sequence as it is now; None where none is needed or there is none to have, and where
        the slot does not hold `n` tokens.

        A decode that failed may leave a recurrent state half written at the position it had been meant for, which
        nothing here can see: such a slot has to be emptied. Raises MemoryError.

        Rows of a window are brought into the order of their positions: cells of a window are reused in a ring, and a
        restored state should not depend on where the ring stood.
        """
        window, recurrent = self._layout.window, self._layout.recurrent
        if window is None and recurrent is None:
            return None
        held = self._held(slot)
        n = held if n is None else n
        if n != held or n == 0:
            return None
        data = self._read(slot, _PARTIAL)
        at, parts = HEAD, []
        if window is not None:
            placed = layouts.locate(data, at, window, self._n_slots)
            if placed is None:
                return None
            order = np.argsort(placed.cells["position"], kind="stable")
            if not self._is_window(placed.cells["position"][order], n):
                return None
            parts.append(layouts.reorder(window, placed, order))
            at = placed.end
        if recurrent is not None:
            if layouts.recurrent_position(data, at, recurrent) != n - 1:
                return None
            parts.append(data[at:].tobytes())
        return b"".join(parts)

    # --- in

    def warm(self, n: int, most: int) -> None:
        """Touch the memory that the first restore of up to `n` tokens needs, at most so many bytes: fresh pages would
        cost it more than copying. `release` gives it back. Does nothing where there is no such memory."""
        if self.why:
            return
        size = HEAD + (self._layout.rows.size(n, self._n_slots) if self._layout.rows else 0) + self.state_bytes
        with contextlib.suppress(MemoryError):
            self._buffer.of(min(size, most))[:: mmap.PAGESIZE] = 0

    def restore(self, slot: int, rows: Sequence[RowsUse], state: bytes | memoryview | None, n: int) -> bool:
        """Make a slot hold the tokens 0..n-1. Where it fails the slot is empty and the answer False."""
        if self.why or not 0 <= slot < self._n_slots:
            return False
        given = self._understand(state, n)
        if given is None or not covers(rows, self._layout.row_bytes, n):
            self._context.trim(slot, 0)
            return False
        try:
            return self._install(slot, *self._splice(slot, rows, given, n), given, n)
        except MemoryError:
            self._context.trim(slot, 0)
            return False

    def copy(self, source: int, target: int, length: int) -> bool:
        """Make slot `target` hold the first `length` tokens of slot `source`; only all of them where there is a state.
        Where it fails the target is empty and the answer False.

        By way of a buffer: done when it returns, whatever happens to the source then. `seq_cp` between streams would
        only note the copy and do it, of the whole stream, at the begin of the next llama_decode; until then a restore
        into the source would be copied instead, one into the target overwritten, and the target read as it was before.
        """
        n = self._held(source)
        if self.why or source == target or not 0 <= target < self._n_slots or not 0 < length <= n:
            return False
        if self.memory_class is not MemoryClass.ATTENTION and length != n:
            return False
        try:
            given = self._understand(self.checkpoint(source), n)
            data = self._read(source, _WHOLE)
        except MemoryError:
            given = None
        if given is None:
            self._context.trim(target, 0)
            return False
        size = HEAD + (self._layout.rows.size(n, self._n_slots) if self._layout.rows else 0)
        if not self._install(target, data, size, given, n):
            return False
        return length == n or (self._context.trim(target, length) and self._holds(target, length))

    # --- parts

    def _probe(self) -> Layout | str:
        """The layout, or why there is none."""
        context = self._context
        if not context.memory:
            return "the model keeps no memory of a sequence"
        tokens = np.arange(_PROBE, dtype=np.int32) + context.model.n_vocab // 2
        context.trim(0, 0)
        context.add(0, 0, tokens, 1)
        if context.decode() != 0:
            return "a short decode failed"
        whole = self._read(0, _WHOLE).copy()
        found = layouts.find(whole, self._read(0, _PARTIAL), _PROBE, self._n_slots)
        context.trim(0, 0)
        if found is None:
            return "the way its memory is stored is not known"
        if found.window is not None and not self._context.n_swa:
            return "it has windows of unknown length"
        return found

    def _size_of(self, n: int) -> int:
        """Bytes of the state of a sequence of `n` tokens, at most."""
        rows, window, recurrent = self._layout.rows, self._layout.window, self._layout.recurrent
        size = HEAD + (rows.size(n, self._n_slots) if rows else 0) + (recurrent.size if recurrent else 0)
        return size + (window.size(min(n, self._context.n_swa), self._n_slots) if window else 0)

    def _ring_size(self) -> int | None:
        """Cells of a slot's window (llama-kv-cache-iswa.cpp); None where windows keep every token."""
        options = self._context.options
        if options.swa_full or not self._context.n_swa:
            return None
        return -(-min(self._context.n_ctx, self._context.n_swa + options.n_batch) // 256) * 256

    def _held(self, slot: int) -> int:
        """How many tokens a slot holds."""
        if not 0 <= slot < self._n_slots:
            raise InternalError(f"there is no slot {slot}")
        return self._context.held(slot)

    def _understand(self, state: bytes | memoryview | None, n: int) -> _State | None:
        """A checkpoint taken apart, or None where it is none of `n` tokens of this layout."""
        layout = self._layout
        needed = layout.window is not None or layout.recurrent is not None
        if not 0 < n <= self._context.n_ctx or (state is not None) != needed:
            return None
        data = np.frombuffer(state if state is not None else b"", np.uint8)
        window = None
        at = 0
        if layout.window is not None:
            window = layouts.locate(data, 0, layout.window, 1)
            if window is None or not self._is_window(window.cells["position"], n):
                return None
            at = window.end
        if layout.recurrent is not None:
            if layouts.recurrent_position(data, at, layout.recurrent) != n - 1:
                return None
        elif at != len(data):
            return None
        return _State(window, data[at:])

    def _splice(self, slot: int, rows: Sequence[RowsUse], given: _State, n: int) -> tuple[Bytes, int]:
        """A state with these rows, where they end, and room for what follows them."""
        layout = self._layout
        size = HEAD + (layout.rows.size(n, self._n_slots) if layout.rows else 0)
        data = self._buffer.of(size + self._tail_size(given))
        data[:HEAD].view(np.uint32)[:] = MAGIC, slot
        if layout.rows is not None:
            placed = layouts.begin(data, HEAD, layout.rows, np.arange(n, dtype=np.int32), slot, self._n_slots)
            for use in rows:
                payload = np.frombuffer(use.payload, np.uint8)
                layouts.put(layout.rows, placed, use.start, use.n_used, payload, use.n_stored)
        return data, size

    def _tail_size(self, given: _State) -> int:
        cache = self._layout.window
        window = cache.size(len(given.window.cells), self._n_slots) if cache and given.window else 0
        return window + len(given.recurrent)

    def _install(self, slot: int, data: Bytes, end: int, given: _State, n: int) -> bool:
        """Write a state whose rows end at `end`, and what follows them; `data` has room for it."""
        self._context.trim(slot, 0)
        cache = self._layout.window
        if cache is not None and given.window is not None:
            if self._set_ring(slot, cache, given.window, given.recurrent, n):
                # No cells for the window: those that are there stay.
                data[end : end + 4 * (1 + self._n_slots)].view(np.uint32)[:] = self._n_slots, *[0] * self._n_slots
                end += 4 * (1 + self._n_slots)
            else:
                positions = given.window.cells["position"]
                placed = layouts.begin(data, end, cache, positions, slot, self._n_slots)
                placed.cells["ext"] = given.window.cells["ext"]
                placed.data[:] = given.window.data
                end = placed.end
        data[end : end + len(given.recurrent)] = given.recurrent
        end += len(given.recurrent)
        if self._write(slot, data[:end], _WHOLE) and self._holds(slot, n):
            self._context.keep_from(slot, n)
            return True
        # Where llama.cpp refuses a state, its first part may be there already.
        self._context.trim(slot, 0)
        return False

    def _set_ring(self, slot: int, cache: Cache, window: Placed, recurrent: Bytes, n: int) -> bool:
        """Put a window into the cells where computing the sequence would have put it; the slot is empty.

        Cells of a window are a ring: position p lies in cell p modulo their number. Attention sums in the order of
        cells, so that only the same cells give the same bits. A state is written to cells from 0 on, so it is given
        with all cells, and zeros for the tokens that the window no longer shows. Then the cell that is next in the
        ring is emptied: llama.cpp looks for room from the first cell that was emptied last.
        """
        size = self._ring
        if size is None:
            return False
        positions = np.arange(max(0, n - size), n, dtype=np.int32)
        cells = np.roll(positions, n % size) if n > size else positions
        data = np.zeros(HEAD + cache.size(len(cells), self._n_slots) + len(recurrent), np.uint8)
        data[:HEAD].view(np.uint32)[:] = MAGIC, slot
        placed = layouts.begin(data, HEAD, cache, cells, slot, self._n_slots)
        layouts.spread(cache, window, placed, window.cells["position"] % size)
        data[placed.end :] = recurrent
        if not self._write(slot, data, _PARTIAL):
            return False
        if n >= size:
            api.llama_memory_seq_rm(self._context.memory, slot, n - size, n - size + 1)
        return True

    def _is_window(self, positions: NDArray[np.int32], n: int) -> bool:
        """Whether ascending positions are all that a window keeps of `n` tokens."""
        return _is_range(positions, self._context.window_start(n), n)

    def _holds(self, slot: int, n: int) -> bool:
        context = self._context
        if context.held(slot) != n:
            return False
        first = int(api.llama_memory_seq_pos_min(context.memory, slot))
        if self._layout.recurrent is not None:
            return first == n - 1
        return first == 0 if self._layout.window is None else first <= context.window_start(n)

    def _read(self, slot: int, flags: int) -> Bytes:
        """A sequence's state, valid until the buffer is used again."""
        if not 0 <= slot < self._n_slots:
            raise InternalError(f"there is no slot {slot}")
        size = int(api.llama_state_seq_get_size_ext(self._context.handle, slot, flags))
        data = self._buffer.of(size)
        read = int(api.llama_state_seq_get_data_ext(self._context.handle, _pointer(data), size, slot, flags))
        if read != size:
            raise InternalError(f"the state of slot {slot} could not be read")
        return data

    def _write(self, slot: int, data: Bytes, flags: int) -> bool:
        """Replace what a slot holds. False where llama.cpp refuses."""
        handle = self._context.handle
        return int(api.llama_state_seq_set_data_ext(handle, _pointer(data), len(data), slot, flags)) == len(data)


def _is_range(positions: NDArray[np.int32], start: int, stop: int) -> bool:
    return len(positions) == stop - start and bool((positions == np.arange(start, stop)).all())


def _pointer(data: Bytes) -> ctypes._Pointer[ctypes.c_uint8]:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
