"""How far a quantization is from a better file of the same model, on a text: the next-token distributions compared.

The better one's logits are written to a file, for two models and all their logits would not fit small machines at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.step import Tokens
from fireside_engine.errors import InternalError, InvalidRequest, ModelUnsupported
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.model import Model
from fireside_engine.llama.tokenizer import Tokenizer

CHUNK = 512
"""Tokens of a passage; each begins anew."""
ROWS = 64
"""Positions computed at once."""
SKIPPED = 16
"""The first positions of a passage say little: too little stands before them."""
STEPS = 24
"""Single tokens that speed is measured with."""

Told = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast one file is here."""

    prompt_per_second: float
    seconds_per_token: float
    """While decoding, when little else runs."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Of one file from the reference."""

    kld: float
    """Mean over all positions, in nats."""
    error: float
    """Standard error of that mean."""
    same_top: float
    """How often the likeliest token is the same, 0 to 1."""
    n_positions: int
    rates: Rates


@contextmanager
def opened(path: Path, n_threads: int) -> Iterator[Context]:
    model = Model(path)
    try:
        context = Context(model, ContextOptions(CHUNK + ROWS, 1, ROWS, ROWS, n_threads))
        try:
            yield context
        finally:
            context.close()
    finally:
        model.close()


def tokens_of(context: Context, text: str, most: int) -> Tokens:
    """Raises InvalidRequest when the text is too short to tell anything."""
    tokens = Tokenizer(context.model.vocab).encode(text, parse_special=False)[:most]
    if len(tokens) < 4 * SKIPPED:
        raise InvalidRequest(f"The text has {len(tokens)} tokens; {4 * SKIPPED} are needed.", hint="Give a longer one.")
    return np.asarray(tokens, np.int32)


def passages(tokens: Tokens) -> list[Tokens]:
    parts = [tokens[start : start + CHUNK] for start in range(0, len(tokens), CHUNK)]
    return [part for part in parts if len(part) > SKIPPED]


def keep_reference(context: Context, tokens: Tokens, file: Path, told: Told) -> Rates:
    """Write log-probabilities of every position to `file`, a float32 array of (positions, n_vocab)."""
    rows = sum(len(part) - SKIPPED for part in passages(tokens))
    kept = np.memmap(file, np.float32, "w+", shape=(rows, context.model.n_vocab))
    began = time.perf_counter()
    for at, logits in enumerate(_rows(context, tokens, lambda fraction: told(0.9 * fraction))):
        kept[at] = _log_softmax(logits)
    seconds = time.perf_counter() - began
    kept.flush()
    rates = Rates(len(tokens) / seconds, _step_seconds(context, tokens))
    told(1.0)
    return rates


def diverge(context: Context, tokens: Tokens, file: Path, told: Told) -> Divergence:
    """Raises ModelUnsupported when the vocabularies differ, for then nothing can be compared."""
    rows = sum(len(part) - SKIPPED for part in passages(tokens))
    n_vocab = context.model.n_vocab
    if file.stat().st_size != rows * n_vocab * 4:
        raise ModelUnsupported("Its vocabulary is not that of the reference.")
    reference = np.memmap(file, np.float32, "r", shape=(rows, n_vocab))
    losses = np.empty(rows)
    same = 0
    began = time.perf_counter()
    for at, logits in enumerate(_rows(context, tokens, lambda fraction: told(0.9 * fraction))):
        log_p, log_q = np.asarray(reference[at], np.float64), _log_softmax(logits)
        losses[at] = float(np.sum(np.exp(log_p) * (log_p - log_q)))
        same += int(log_p.argmax() == log_q.argmax())
    seconds = time.perf_counter() - began
    error = float(losses.std() / np.sqrt(rows))
    rates = Rates(len(tokens) / seconds, _step_seconds(context, tokens))
    told(1.0)
    return Divergence(max(0.0, float(losses.mean())), error, same / rows, rows, rates)


def _rows(context: Context, tokens: Tokens, told: Told) -> Iterator[NDArray[np.float32]]:
    """The logits of every position but the first ones of each passage."""
    done = 0
    for part in passages(tokens):
        context.clear()
        for start in range(0, len(part), ROWS):
            piece = part[start : start + ROWS]
            last = context.add(0, start, piece, len(piece))
            if context.decode() != 0:
                raise InternalError("A passage could not be computed.")
            for index in range(len(piece)):
                if start + index >= SKIPPED:
                    yield context.logits(last - len(piece) + 1 + index)
            done += len(piece)
            told(done / len(tokens))


def _step_seconds(context: Context, tokens: Tokens) -> float:
    context.clear()
    prefix = tokens[:ROWS]
    context.add(0, 0, prefix, 1)
    context.decode()
    seconds = []
    for step in range(STEPS):
        token = tokens[(len(prefix) + step) % len(tokens)]
        began = time.perf_counter()
        context.add(0, len(prefix) + step, np.array([token], np.int32), 1)
        if context.decode() != 0:
            raise InternalError("A token could not be computed.")
        seconds.append(time.perf_counter() - began)
    # What else runs only ever makes a step slower.
    return float(np.quantile(seconds, 0.2))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    return values
