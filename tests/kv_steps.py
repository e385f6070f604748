"""Computes tokens in slots of a context directly, for tests and measurements of KV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.state_rows import Rows, RowsUse
from fireside_engine.core.step import Logits, Tokens
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.model import Model

KV = {"f16": ("f16", "f16"), "q8_0": ("q8_0", "q8_0"), "deterministic": ("f16", "bf16")}


def make_context(
    model: Model, n_ctx: int, kv: str = "f16", *, n_slots: int = 3, n_threads: int = 1, swa_full: bool = False
) -> Context:
    """One thread by default: threads wait for each other after every operation, which tiny models do little else."""
    type_k, type_v = KV[kv]
    options = ContextOptions(
        n_ctx=n_ctx,
        n_slots=n_slots,
        n_batch=512,
        n_outputs=n_slots,
        n_threads=n_threads,
        type_k=type_k,
        type_v=type_v,
        swa_full=swa_full,
    )
    return Context(model, options)


def random_tokens(model: Model, n: int, seed: int = 0) -> Tokens:
    low = min(300, model.n_vocab // 2)
    return np.random.default_rng(seed).integers(low, model.n_vocab, n).astype(np.int32)


def prefill(context: Context, slot: int, tokens: Tokens, start: int = 0, piece: int = 512) -> Logits:
    """Logits of the last token; tokens before `start` are in the slot already."""
    index = 0
    for at in range(start, len(tokens), piece):
        index = context.add(slot, at, tokens[at : at + piece], 1)
        assert context.decode() == 0
    return context.logits(index).copy()


def greedy(context: Context, slot: int, first: int, n: int, steps: int) -> NDArray[np.float32]:
    """(steps, n_vocab): logits of `steps` tokens from position `n` on, of which `first` is the first."""
    found, token = [], first
    for i in range(steps):
        index = context.add(slot, n + i, np.array([token], np.int32), 1)
        assert context.decode() == 0
        found.append(context.logits(index).copy())
        token = int(found[-1].argmax())
    return np.array(found)


def used(rows: list[Rows]) -> list[RowsUse]:
    """All of these rows."""
    return [RowsUse(r.start, r.count, r.count, r.payload) for r in rows]
