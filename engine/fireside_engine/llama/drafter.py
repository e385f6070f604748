"""A draft model beside the model, in the same process.

It works only while the model waits, on the same threads one after the other, so the two never spin at barriers against
each other. Its KV follows the model's tokens by their common prefix.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.fit import DRAFT_BATCH
from fireside_engine.core.footprint import DeviceBytes
from fireside_engine.core.slot import common
from fireside_engine.core.state_rows import MemoryClass, Rows, RowsUse
from fireside_engine.core.step import Propose, Tokens
from fireside_engine.core.vocabulary import Vocabulary, difference
from fireside_engine.errors import InternalError, ModelUnsupported
from fireside_engine.llama import breakdown
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.library import api
from fireside_engine.llama.model import Model
from fireside_engine.llama.state import StateAccess

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
        self.path = path
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
        self._saved = 0
        """The first of them whose KV was handed over to be saved."""
        self.state = StateAccess(self._context)

    @property
    def devices(self) -> tuple[DeviceBytes, ...]:
        """What it occupies."""
        return breakdown.allocated(self._context)

    @property
    def context(self) -> Context:
        return self._context

    @property
    def is_kept(self) -> bool:
        """Its KV may be saved: windows and recurrent states would serve at one length only."""
        return self.state.memory_class is MemoryClass.ATTENTION

    def cut(self, tokens: Tokens) -> tuple[int, int, list[Rows]] | None:
        """What KV it has of these tokens and was not saved yet: (start, stop, rows); None for nothing.

        Raises InternalError and MemoryError as StateAccess.cut.
        """
        stop = self.known(tokens)
        start = self._saved // BLOCK * BLOCK
        if not self.is_kept or stop <= self._saved:
            return None
        return start, stop, self.state.cut(0, start, stop, self._n)

    def saved(self, stop: int) -> None:
        """What was cut up to there is taken care of."""
        self._saved = max(self._saved, stop)

    def restore(self, tokens: Tokens, rows: list[RowsUse]) -> int:
        """Take KV of these tokens, unless as much is known already; returns how many of them it has KV of."""
        n = len(tokens)
        if not self.is_kept or n > self._context.n_ctx or self.known(tokens) >= n:
            return min(n, self.known(tokens))
        done = self.state.restore(0, rows, None, n)
        self._n = self._saved = n if done else 0
        self._tokens[: self._n] = tokens[: self._n]
        return self._n

    def forget(self, *, drop: bool) -> None:
        """What was saved of its KV is gone from disk. drop: it goes from memory too."""
        self._saved = 0
        if drop:
            self._context.trim(0, 0)
            self._n = 0

    def known(self, tokens: Tokens) -> int:
        """How many of the first tokens it has KV of."""
        return common(self._tokens[: self._n], tokens)

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
        keep = common(self._tokens[: min(self._n, len(known) - 1)], known)
        if keep < self._n and not self._context.trim(0, keep):
            self._context.trim(0, 0)
            keep = 0
        self._n, self._saved = keep, min(self._saved, keep)
        row = 0
        while self._n < len(known):
            row = self._compute(known[self._n : self._n + PIECE])
        return row

    def _compute(self, tokens: Tokens) -> int:
        row = self._context.add(0, self._n, tokens, 1)
        if (status := self._context.decode()) != 0:
            self._context.trim(0, 0)
            self._n = self._saved = 0
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
