"""A llama.cpp context: the KV of all slots, and batches filled through numpy views."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.step import Logits, Tokens
from fireside_engine.errors import InsufficientMemory, InternalError
from fireside_engine.llama import library
from fireside_engine.llama.library import api
from fireside_engine.llama.model import Model

_CHUNKED = ("llama4",)
"""Architectures whose windows begin at multiples of their length instead of sliding."""

KV_TYPES = {"f16": 1, "q8_0": 8, "bf16": 30}
"""ggml_type of ggml.h."""


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """What a context is made with."""

    n_ctx: int
    """Tokens of one sequence; rounded up to 256 by llama.cpp."""
    n_slots: int
    n_batch: int
    n_outputs: int
    """Logit rows one batch may ask for; each costs n_vocab * 4 bytes."""
    n_threads: int
    type_k: str = "f16"
    type_v: str = "f16"
    swa_full: bool = False
    """Layers with a sliding window keep every token, so that a slot can be cut anywhere; costs their whole KV."""


def parameters(options: ContextOptions) -> Any:
    """llama_context_params. The one place that fills them, so that a dry run asks for what a load gets."""
    params = api.llama_context_default_params()
    params.n_ctx = options.n_ctx * options.n_slots
    params.n_batch = options.n_batch
    params.n_ubatch = options.n_batch
    params.n_seq_max = options.n_slots
    params.n_outputs_max = options.n_outputs
    params.n_outputs_max_per_seq = options.n_outputs
    params.n_threads = options.n_threads
    params.n_threads_batch = options.n_threads
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.type_k = KV_TYPES[options.type_k]
    params.type_v = KV_TYPES[options.type_v]
    params.kv_unified = False
    params.swa_full = options.swa_full
    params.no_perf = True
    return params


class Context:
    """Owned by one thread. Positions of a sequence are contiguous from 0.

    Every sequence has a stream of its own (`kv_unified=False`): cells of a sequence then lie in the order of their
    positions whatever its neighbours do, so that attention sums in one order and a text does not depend on company.
    Flash attention is ENABLED: V is stored by rows, and several sequences in one batch leave each other's bits alone.
    """

    def __init__(self, model: Model, options: ContextOptions) -> None:
        self.model = model
        self.options = options
        params = parameters(options)
        with library.capture() as log:
            handle = api.llama_init_from_model(model.handle, params)
            if not handle:
                raise InsufficientMemory(
                    f"No context of {options.n_slots} x {options.n_ctx} tokens could be made: {log.reason()}.",
                    hint="Use a smaller context or fewer slots.",
                )
            self.log = log.lines()
            """What llama.cpp said while the context was made."""
        self.handle = handle
        self.memory = api.llama_get_memory(handle)
        self.n_ctx = int(api.llama_n_ctx_seq(handle))
        self.n_swa = int(api.llama_model_n_swa(model.handle))
        """Tokens of a sliding window; 0 where there is none."""
        self._chunked = model.metadata("general.architecture") in _CHUNKED
        self._recurrent = bool(api.llama_model_is_recurrent(model.handle) or api.llama_model_is_hybrid(model.handle))
        self._floors = [0] * max(1, options.n_slots)
        self._fill_arrays(options.n_batch)
        self._batch = api.llama_batch()
        members: dict[str, Any] = {field[0]: field[1] for field in api.llama_batch._fields_}
        for name, array in (
            ("token", self._token),
            ("pos", self._pos),
            ("n_seq_id", self._n_seq_id),
            ("seq_id", self._seq_address),
            ("logits", self._output),
        ):
            setattr(self._batch, name, ctypes.cast(array.ctypes.data, members[name]))

    def _fill_arrays(self, n: int) -> None:
        self._token = np.zeros(n, np.int32)
        self._pos = np.zeros(n, np.int32)
        self._n_seq_id = np.ones(n, np.int32)
        # seq_id is an array of pointers: each points at a fixed cell that holds the id of one slot.
        self._slot_ids = np.arange(max(1, self.options.n_slots), dtype=np.int32)
        self._seq_address = np.zeros(n, np.uint64)
        self._output = np.zeros(n, np.int8)
        self._size = 0

    def add(self, slot: int, start: int, tokens: Tokens, outputs: int, padding: int = 0) -> int:
        """Put consecutive tokens of a slot into the batch; logits are wanted for the last `outputs` of them, or of
        those before the `padding` at the end.

        Returns the batch index of the last token.
        """
        first, last = self._size, self._size + len(tokens)
        if last > len(self._token):
            raise InternalError(f"a batch of {last} tokens is above the limit of {len(self._token)}")
        self._token[first:last] = tokens
        self._pos[first:last] = np.arange(start, start + len(tokens), dtype=np.int32)
        self._seq_address[first:last] = self._slot_ids.ctypes.data + slot * self._slot_ids.itemsize
        self._output[first:last] = 0
        if outputs:
            self._output[last - padding - outputs : last - padding] = 1
        self._size = last
        return last - 1

    def decode(self) -> int:
        """Compute the batch and empty it. Returns llama_decode's value: 0 is success."""
        self._batch.n_tokens, self._size = self._size, 0
        return int(api.llama_decode(self.handle, self._batch))

    def logits(self, index: int) -> Logits:
        """(n_vocab,) of a batch index that asked for output: a view, valid until the next decode."""
        pointer = api.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise InternalError("llama.cpp has no logits for a token that asked for them")
        array: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self.model.n_vocab,))
        return array

    def trim(self, slot: int, length: int) -> bool:
        """Drop KV at positions >= length; length 0 drops all, which always succeeds. False where it would not do."""
        if length == 0:
            api.llama_memory_seq_rm(self.memory, slot, -1, -1)
            self._floors[slot] = 0
            return True
        return self.can_trim(slot, length) and bool(api.llama_memory_seq_rm(self.memory, slot, length, -1))

    def can_trim(self, slot: int, length: int) -> bool:
        """Whether a slot can be cut to `length` tokens and go on from there.

        llama.cpp cuts windows without a word although the tokens that the next one would see are gone. A cut across
        the seam of a window's ring of cells is sound, but the order of its sums is another then (see `state.py`).
        """
        if length == 0 or length >= self.held(slot):
            return True
        if not self.n_swa or self._recurrent:
            return not self._recurrent
        first = int(api.llama_memory_seq_pos_min(self.memory, slot))
        return length >= self._floors[slot] and first <= self.window_start(length)

    def held(self, slot: int) -> int:
        """How many tokens a slot holds."""
        return int(api.llama_memory_seq_pos_max(self.memory, slot)) + 1

    def window_start(self, length: int) -> int:
        """The first of `length` tokens that layers with a window keep."""
        if self._chunked:
            return (length - 1) // self.n_swa * self.n_swa
        return max(0, length - self.n_swa)

    def keep_from(self, slot: int, length: int) -> None:
        """A slot's window has been restored at `length` tokens: what came before it is not there."""
        self._floors[slot] = length if self.n_swa and self.window_start(length) else 0

    def clear(self) -> None:
        self._floors = [0] * len(self._floors)
        api.llama_memory_clear(self.memory, True)

    def close(self) -> None:
        if self.handle:
            api.llama_free(self.handle)
            self.handle = None
