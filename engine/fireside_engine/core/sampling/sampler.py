"""A request's sampler: draws tokens with the compiled kernels once they are ready, until then with their numpy twin.

Both give the same token, so the first answer need not wait for a compiler. Numba is imported by `warm_up` alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import params as _params
from fireside_engine.core.sampling import reference, tolerance
from fireside_engine.core.sampling.params import NothingAllowed, SamplingError, UnusableLogits
from fireside_engine.errors import InternalError

LOWEST_LOGPROB: Final = -9999.0
"""Reported for tokens that cannot occur: minus infinity has no JSON."""

_NO_MASK: Final = np.empty(0, np.uint32)
_lock = threading.Lock()
_kernels: ModuleType | None = None


class Sampler:
    """Draws a request's tokens. It has no state: a token depends on the parameters and what `draw` is given."""

    def __init__(self, params: SamplingParams, n_vocab: int, banned: Sequence[int] = ()) -> None:
        self._rules = _params.rules(params, n_vocab, banned)
        other = replace(params, seed=params.seed ^ tolerance.DEFERRAL)
        self._replacing = _params.rules(other, n_vocab, banned)
        self._n_vocab = n_vocab
        self._n_alternatives = min(params.logprobs or 0, n_vocab)

    def draw(
        self,
        logits: NDArray[np.float32],
        position: int,
        history: NDArray[np.int32],
        mask: NDArray[np.uint32] | None = None,
    ) -> int:
        """The token at `position`, its index in the sequence.

        `history` is the sequence so far, or its end as far as penalties look. `mask` has a bit for each token, the
        lowest of the first word for token 0; tokens beyond its end are not allowed. Arrays must be contiguous, and are
        only read.
        Raises UnusableLogits and NothingAllowed.
        """
        return self._draw(self._rules, logits, position, history, mask)

    def replace(
        self,
        logits: NDArray[np.float32],
        position: int,
        history: NDArray[np.int32],
        mask: NDArray[np.uint32] | None = None,
    ) -> int:
        """As `draw`, with noise of its own: for a token that takes the place of another model's."""
        return self._draw(self._replacing, logits, position, history, mask)

    def tolerates(
        self,
        logits: NDArray[np.float32],
        history: NDArray[np.int32],
        mask: NDArray[np.uint32] | None,
        token: int,
        limit: float,
    ) -> bool:
        """Whether another model's token is good enough here, by core.sampling.tolerance. limit: above 0, at most 1."""
        self._check(logits)
        words = None if mask is None else mask.view(np.uint32)
        return tolerance.tolerates(self._rules, logits, history, words, token, limit)

    def _draw(
        self,
        rules: _params.Rules,
        logits: NDArray[np.float32],
        position: int,
        history: NDArray[np.int32],
        mask: NDArray[np.uint32] | None,
    ) -> int:
        self._check(logits)
        if history.dtype != np.int32 or not history.flags.c_contiguous:
            raise ValueError(f"Expected the history as contiguous int32, got {history.dtype}.")
        words = _NO_MASK if mask is None else mask.view(np.uint32)
        kernels = _kernels
        if kernels is None:
            token = reference.draw(rules, logits, position, history, None if mask is None else words)
        else:
            work, counts = _scratch.sized(self._n_vocab)
            token = kernels.draw(logits, position, history, words, mask is not None, work, counts, rules)
        if token < 0:
            raise _error(token)
        return token

    def logprobs(self, logits: NDArray[np.float32], token: int) -> tuple[float, list[tuple[int, float]]]:
        """Log-probability of `token`, and the largest of all with theirs, as many as the request asked for.

        As in OpenAI's API they tell what the model thinks: softmax of the raw logits, whatever bias, penalties, mask,
        temperature and cuts make of them. Never below -9999.
        """
        self._check(logits)
        if _kernels is None:
            status, top, rest, largest = reference.logprobs(logits, self._n_alternatives)
        else:
            largest = np.empty(self._n_alternatives, np.int64)
            status, top, rest = _kernels.logprobs(logits, largest)
        if status < 0:
            raise _error(status)
        ranked = sorted(((int(i), float(logits[i])) for i in largest), key=lambda pair: (-pair[1], pair[0]))
        return _logprob(logits[token], top, rest), [(i, _logprob(logit, top, rest)) for i, logit in ranked]

    def _check(self, logits: NDArray[np.float32]) -> None:
        if logits.shape != (self._n_vocab,) or logits.dtype != np.float32 or not logits.flags.c_contiguous:
            raise ValueError(
                f"Expected {self._n_vocab} contiguous float32, got {logits.dtype} of shape {logits.shape}."
            )


def compiled() -> bool:
    """Whether draws use the compiled kernels."""
    return _kernels is not None


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache (NUMBA_CACHE_DIR); draws use them from then on.

    May take half a minute the first time. Any thread may call it, several at once as well. Raises InternalError when
    the kernels draw otherwise than their twin, as a stale cache could make them; draws then stay with the twin.
    """
    global _kernels
    with _lock:
        if _kernels is not None:
            return
        from fireside_engine.core.sampling import kernels

        _prove(kernels)
        _kernels = kernels


def _prove(kernels: ModuleType) -> None:
    n = 300
    grid = np.arange(n, dtype=np.float32)
    logits = (grid * 7 % 31 - grid * 3 % 17) / np.float32(4)
    history = np.arange(0, n, 11, dtype=np.int32)
    mask = np.full(9, 0xBFFFFFFD, np.uint32)
    for trial, params in enumerate(
        (
            SamplingParams(),
            SamplingParams(top_k=0, top_p=1.0, min_p=0.0),
            SamplingParams(top_k=0, top_p=0.7, top_n_sigma=1.5, repeat_penalty=1.1, logit_bias=((3, 5.0),)),
        )
    ):
        rules = _params.rules(params, n, (4,))
        work, counts = np.empty(n, np.float32), np.zeros(n, np.int32)
        token = kernels.draw(logits, trial, history, mask, True, work, counts, rules)
        if token != reference.draw(rules, logits, trial, history, mask):
            raise InternalError(
                "The compiled sampler does not draw as specified.",
                hint="Delete numba's cache (NUMBA_CACHE_DIR) and start again; until then sampling is slow but right.",
            )


class _Scratch(threading.local):
    """Buffers of a thread, shared by all its samplers."""

    def __init__(self) -> None:
        self._work = np.empty(0, np.float32)
        self._counts = np.empty(0, np.int32)

    def sized(self, n_vocab: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        if self._work.size < n_vocab:
            self._work = np.empty(n_vocab, np.float32)
            self._counts = np.zeros(n_vocab, np.int32)
        return self._work, self._counts


_scratch = _Scratch()


def _error(status: int) -> SamplingError:
    if status == _params.UNUSABLE:
        return UnusableLogits(
            "The model computed logits that are not numbers.", hint="Its file may be damaged, or its KV cache corrupt."
        )
    return NothingAllowed("No token is allowed here: mask, bans and the model's logits exclude all of them.")


def _logprob(logit: float, top: float, rest: float) -> float:
    return max(float(logit) - top - rest, LOWEST_LOGPROB)
