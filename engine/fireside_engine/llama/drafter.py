"""A draft model beside the model, in the same process.

It works only while the model waits, on the same threads one after the other, so the two never spin at barriers against
each other. Its KV follows the model's tokens by their common prefix.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from fireside_engine.core.fit import DRAFT_BATCH
from fireside_engine.core.footprint import DeviceBytes
from fireside_engine.core.step import Propose, Tokens
from fireside_engine.core.vocabulary import Vocabulary, difference
from fireside_engine.errors import InternalError, ModelUnsupported
from fireside_engine.llama import breakdown
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.library import api
from fireside_engine.llama.model import Model

log = logging.getLogger(__name__)

PIECE = DRAFT_BATCH
"""Tokens of a batch that catches up."""


def vocabulary_of(model: Model) -> Vocabulary:
    """What has to agree for two models to speak of the same tokens."""
    vocab = model.vocab
    return Vocabulary(
        kind=int(api.llama_vocab_type(vocab)),
        n=model.n_vocab,
        bos=int(api.llama_vocab_bos(vocab)) if api.llama_vocab_get_add_bos(vocab) else -1,
        eos=int(api.llama_vocab_eos(vocab)) if api.llama_vocab_get_add_eos(vocab) else -1,
        text=lambda token: api.llama_vocab_get_text(vocab, token) or b"",
    )


class Drafter:
    """Owned by the thread that decodes. Raises ModelUnsupported when the two vocabularies differ."""

    def __init__(self, path: Path, target: Model, *, n_ctx: int, n_threads: int) -> None:
        self.model = Model(path)
        if why := difference(vocabulary_of(target), vocabulary_of(self.model)):
            self.model.close()
            raise ModelUnsupported(f"{path.name} cannot draft: {why}.", hint="A draft model needs the same tokens.")
        self._context = Context(
            self.model,
            ContextOptions(n_ctx=n_ctx, n_slots=1, n_batch=PIECE, n_outputs=1, n_threads=n_threads),
        )
        self._n_vocab = min(target.n_vocab, self.model.n_vocab)
        self._wider = np.full(target.n_vocab, -np.inf, np.float32) if target.n_vocab > self.model.n_vocab else None
        self._target_vocab = target.n_vocab
        self._tokens = np.zeros(self._context.n_ctx, np.int32)
        self._n = 0
        """Tokens in KV."""

    @property
    def devices(self) -> tuple[DeviceBytes, ...]:
        """What it occupies."""
        return breakdown.allocated(self._context)

    def propose(self, wanted: Propose) -> list[tuple[int, float]]:
        """Tokens that this model would draw, each with its own probability of it; fewer than asked for where it gets
        unsure, or its context is full."""
        known = wanted.tokens
        if len(known) + wanted.k > self._context.n_ctx:
            return []
        row = self._catch_up(known)
        history = np.concatenate((known, np.zeros(wanted.k, np.int32)))
        drafted: list[tuple[int, float]] = []
        for i in range(wanted.k):
            n = len(known) + i
            token, probability = wanted.drawer.guess(self._logits(row), n, history[:n])
            drafted.append((token, probability))
            if probability < wanted.least or i == wanted.k - 1:
                break
            history[n] = token
            row = self._compute(history[n : n + 1])
        return drafted

    def _catch_up(self, known: Tokens) -> int:
        """Bring KV to `known`; returns the batch index of the last token's logits."""
        n = min(self._n, len(known) - 1)
        different = np.nonzero(self._tokens[:n] != known[:n])[0]
        keep = int(different[0]) if len(different) else n
        if keep < self._n and not self._context.trim(0, keep):
            self._context.trim(0, 0)
            keep = 0
        self._n = keep
        row = 0
        while self._n < len(known):
            row = self._compute(known[self._n : self._n + PIECE])
        return row

    def _compute(self, tokens: Tokens) -> int:
        row = self._context.add(0, self._n, tokens, 1)
        if (status := self._context.decode()) != 0:
            self._context.trim(0, 0)
            self._n = 0
            raise InternalError(f"The draft model could not compute a batch (llama_decode gave {status}).")
        self._tokens[self._n : self._n + len(tokens)] = tokens
        self._n += len(tokens)
        return row

    def _logits(self, row: int) -> np.ndarray:
        """As many as the model has tokens."""
        logits = self._context.logits(row)
        if self._wider is not None:
            self._wider[: self._n_vocab] = logits
            return self._wider
        return logits[: self._target_vocab]

    def close(self) -> None:
        self._context.close()
        self.model.close()
