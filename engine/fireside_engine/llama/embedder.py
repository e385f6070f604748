"""Texts as vectors: a context that keeps no conversation and pools what it computes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fireside_engine.errors import InsufficientMemory, InternalError, InvalidRequest
from fireside_engine.llama import library
from fireside_engine.llama.library import api
from fireside_engine.llama.model import Model

LONGEST = 8192
"""Tokens of one text, or fewer where the model was trained on less: attention over them needs memory by the square."""

Vector = NDArray[np.float32]


class Embedder:
    """Owned by one thread. How vectors are pooled is the model's to say; the mean where it says nothing."""

    def __init__(self, model: Model, n_threads: int) -> None:
        self.model = model
        self.n_embd = int(api.llama_model_n_embd(model.handle))
        self.longest = min(LONGEST, model.n_ctx_train)
        self._handle = self._context(n_threads, None)
        if int(api.llama_pooling_type(self._handle)) == api.LLAMA_POOLING_TYPE_NONE:
            api.llama_free(self._handle)
            self._handle = self._context(n_threads, api.LLAMA_POOLING_TYPE_MEAN)

    def _context(self, n_threads: int, pooling: int | None) -> Any:
        params = api.llama_context_default_params()
        # The whole text is one batch: a model that looks in both directions cannot be given it in pieces.
        params.n_ctx = params.n_batch = params.n_ubatch = self.longest
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = n_threads
        params.embeddings = True
        params.no_perf = True
        if pooling is not None:
            params.pooling_type = pooling
        with library.capture() as log:
            handle = api.llama_init_from_model(self.model.handle, params)
            if not handle:
                raise InsufficientMemory(f"No context for embeddings could be made: {log.reason()}.")
        return handle

    def tokens(self, text: str) -> list[int]:
        """With the special tokens that the model was trained to see around a text. Raises InvalidRequest."""
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidRequest("The input has half a character (a lone surrogate).") from None
        room = len(data) + 16
        buffer = (ctypes.c_int32 * room)()
        n = int(api.llama_tokenize(self.model.vocab, data, len(data), buffer, room, True, False))
        if n < 0:
            raise InternalError("The tokenizer made more tokens than there are bytes.")
        return list(buffer[:n])

    def embed(self, tokens: list[int]) -> Vector:
        """(n_embd,), of length 1. Raises InvalidRequest for a text that is empty or too large."""
        if not tokens:
            raise InvalidRequest("input: an empty text has no embedding.", param="input")
        if len(tokens) > self.longest:
            words = f"The input is too large: {len(tokens):,} tokens, and {self.longest:,} are what this model reads."
            raise InvalidRequest(words, hint="Embed it in parts.", n_prompt_tokens=len(tokens), n_ctx=self.longest)
        batch = api.llama_batch_init(len(tokens), 0, 1)
        try:
            for place, token in enumerate(tokens):
                batch.token[place] = token
                batch.pos[place] = place
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = 0
                batch.logits[place] = 1
            batch.n_tokens = len(tokens)
            if memory := api.llama_get_memory(self._handle):
                api.llama_memory_clear(memory, True)
            status = int(api.llama_decode(self._handle, batch))
        finally:
            api.llama_batch_free(batch)
        if status != 0:
            raise InternalError(f"llama.cpp could not compute the embedding (status {status}).")
        pointer = api.llama_get_embeddings_seq(self._handle, 0)
        if not pointer:
            raise InternalError("llama.cpp has no embedding of the text.")
        vector: Vector = np.ctypeslib.as_array(pointer, (self.n_embd,)).astype(np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def close(self) -> None:
        if self._handle:
            api.llama_free(self._handle)
            self._handle = None
