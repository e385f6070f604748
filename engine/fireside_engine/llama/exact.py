"""Measures the exact window of a loaded model: which batch sizes give the bits, and at what cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fireside_engine.core.step import Logits, Tokens
from fireside_engine.core.window import TILE, Probe
from fireside_engine.errors import InternalError
from fireside_engine.llama.context import Context

SIZES = (2, 3, 4, 5, 6, 8, 12, 16)
"""Kernels change at multiples of 2, 4 and 8 rows; 16 and above share one class."""

PREFIX = 32
"""Tokens before the probe. Where K and V are both f16, what it sees holds for conversations of fewer than 256 tokens:
from there on attention reads 512 cells, and single steps take a path of their own (ggml-cpu/ops.cpp). The types that
`deterministic` loads with never take it."""


def probe(context: Context, *, seed: int = 1, progress: Callable[[float], None] | None = None) -> Probe:
    """Compare batches of several sizes with single steps, bit by bit. Clears the context.

    Costs 16 single steps, one batch of each size, and one tile.
    """
    longest = min(max(SIZES), context.options.n_outputs)
    random = np.random.default_rng(seed)
    # Diverse tokens, as experts and activations of real text are diverse; the lowest ids are often control tokens.
    low = min(300, context.model.n_vocab // 2)
    tokens = random.integers(low, context.model.n_vocab, PREFIX + TILE).astype(np.int32)
    prefix, rest = tokens[:PREFIX], tokens[PREFIX:]

    def run(chunk: Tokens, start: int, outputs: int) -> list[Logits]:
        last = context.add(0, start, chunk, outputs)
        if context.decode() != 0:
            raise InternalError("The batch of a probe could not be computed.")
        return [context.logits(last - outputs + 1 + i).copy() for i in range(outputs)]

    told = progress or (lambda _fraction: None)
    context.clear()
    run(prefix, 0, 1)
    reference = []
    started = time.perf_counter()
    for i in range(longest):
        reference += run(rest[i : i + 1], PREFIX + i, 1)
        told(0.4 * (i + 1) / longest)
    seconds = {1: (time.perf_counter() - started) / longest}
    equal = {}
    for size in (s for s in SIZES if s <= longest):
        _rewind(context, prefix, run)
        started = time.perf_counter()
        logits = run(rest[:size], PREFIX, size)
        seconds[size] = time.perf_counter() - started
        equal[size] = all(np.array_equal(a, b) for a, b in zip(logits, reference, strict=False))
        told(0.4 + 0.4 * size / longest)
    prefill_equal = False
    if equal and all(equal.values()):
        prefill_equal = _prefill_is_exact(context, tokens, run)
    context.clear()
    told(1.0)
    return Probe(equal, seconds, prefill_equal)


def _rewind(context: Context, prefix: Tokens, run: Callable[..., list[Logits]]) -> None:
    """Back to the prefix; by computing it again where the memory cannot be cut."""
    if not context.trim(0, PREFIX):
        context.trim(0, 0)
        run(prefix, 0, 1)


def _prefill_is_exact(context: Context, tokens: Tokens, run: Callable[..., list[Logits]]) -> bool:
    """Whether a tile computed at once leaves the same KV as single steps: the next token's logits tell."""
    last = tokens[-1:]
    context.trim(0, 0)
    run(tokens[:TILE], 0, 1)
    whole = run(last, TILE, 1)
    context.trim(0, 0)
    for i in range(TILE):
        run(tokens[i : i + 1], i, 1)
    return bool(np.array_equal(whole[0], run(last, TILE, 1)[0]))
