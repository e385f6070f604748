"""How a model is driven on this machine: context, slots, KV type. Pure; the numbers come in."""

from __future__ import annotations

from dataclasses import dataclass

from fireside_engine.core.rules import Rules, Trimming
from fireside_engine.core.saving import Saves
from fireside_engine.core.window import TILE, UNLIMITED, Probe, decode_width

CONTEXT = 8192
"""Tokens of a conversation unless asked otherwise: room for a long chat, in memory that small machines have."""

SLOTS = 4
"""Conversations decoded together: an editor, a chat, a pipe, and one more."""

KV_SHARE = 4
"""KV gets at most this part of the memory that is free after the weights were loaded."""

BATCH = 512
"""Longest piece of a prompt: llama.cpp's own n_ubatch."""

FEWEST_BETWEEN = 512
"""Tokens between checkpoints, at least."""

BYTES_PER_ELEMENT = {"f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the size of KV."""

    n_layer: int
    n_embd_kv: int
    """Elements of K, and of V, for one token in one layer."""
    n_ctx_train: int


@dataclass(frozen=True, slots=True)
class Driving:
    """A context that fits."""

    n_ctx: int
    n_slots: int
    type_k: str
    type_v: str


def kv_types(kv_type: str | None, *, deterministic: bool) -> tuple[str, str]:
    """Types of K and V.

    `deterministic` needs a pair that takes neither the split nor the tiled attention path of llama.cpp's CPU kernels
    (ggml-cpu/ops.cpp: both are for K and V of one float type). f16 with bf16 does that at the least cost in time.
    """
    if kv_type == "q8_0":
        return "q8_0", "q8_0"
    if kv_type == "bf16":
        return "bf16", "bf16"
    return ("f16", "bf16") if deterministic else ("f16", "f16")


def kv_bytes(shape: Shape, n_ctx: int, type_k: str, type_v: str) -> int:
    """Bytes of KV for one slot."""
    per_element = BYTES_PER_ELEMENT[type_k] + BYTES_PER_ELEMENT[type_v]
    return int(n_ctx * shape.n_layer * shape.n_embd_kv * per_element)


def choose(
    shape: Shape,
    free: int,
    *,
    n_ctx: int | None = None,
    n_slots: int | None = None,
    kv_type: str | None = None,
    deterministic: bool = False,
) -> Driving:
    """The context for this machine: what was asked for, else fewer slots and then a shorter context until KV fits.

    free: bytes available now, weights loaded.
    """
    type_k, type_v = kv_types(kv_type, deterministic=deterministic)
    wanted = min(n_ctx or CONTEXT, shape.n_ctx_train) if shape.n_ctx_train > 0 else n_ctx or CONTEXT
    wanted = max(256, -(-wanted // 256) * 256)
    slots = n_slots or SLOTS
    budget = free // KV_SHARE

    def too_large() -> bool:
        return slots * kv_bytes(shape, wanted, type_k, type_v) > budget

    while n_slots is None and slots > 1 and too_large():
        slots //= 2
    while n_ctx is None and wanted > 1024 and too_large():
        wanted //= 2
    return Driving(wanted, slots, type_k, type_v)


@dataclass(frozen=True, slots=True)
class Memory:
    """What can be done with the KV of a model, besides computing with it."""

    copies: bool = False
    """From one slot to another."""
    saved: bool = False
    """To disk and back."""
    checkpoint: int = 0
    """Bytes of a checkpoint, where it needs them: it cannot be resumed anywhere else."""
    per_token: int = 0
    """Bytes of KV for each token, checkpoints apart."""


def checkpoint_interval(memory: Memory) -> int:
    """Tokens between two checkpoints of a long prompt: they take at most twice the bytes of what is between them."""
    if not memory.per_token:
        return FEWEST_BETWEEN
    return max(FEWEST_BETWEEN, memory.checkpoint // (2 * memory.per_token))


def rules(
    driving: Driving, n_ctx: int, probe: Probe, *, trimmable: bool, deterministic: bool, memory: Memory | None = None
) -> Rules:
    """How the scheduler drives a context of `n_ctx` tokens for each slot."""
    memory = memory or Memory()
    generated = not deterministic or probe.window == UNLIMITED
    return Rules(
        n_slots=driving.n_slots,
        n_ctx=n_ctx,
        # In `deterministic` every piece but the last is one tile, so that nothing rests on pieces of several sizes
        # rounding alike.
        n_batch=TILE if deterministic and probe.window != UNLIMITED else BATCH,
        decode_width=decode_width(probe, driving.n_slots, deterministic=deterministic),
        reuse_generated=generated,
        trimming=Trimming.ANYWHERE if trimmable else Trimming.NEVER,
        exact=deterministic,
        copies=memory.copies,
        saves=Saves(memory.saved, memory.checkpoint > 0, checkpoint_interval(memory), generated),
    )
