"""Everything that makes the KV of a model useless elsewhere: the beginning of its name on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fireside_engine import address
from fireside_engine.llama import library
from fireside_engine.llama.context import Context
from fireside_engine.llama.state import StateAccess
from fireside_engine.models.digest import content_digest
from fireside_engine.models.gguf import Header

VERSION = 1
"""Raised when KV of older versions must not be used any more."""


def parts(
    path: Path,
    header: Header,
    context: Context,
    state: StateAccess,
    is_new: Callable[[], None],
    *,
    deterministic: bool,
) -> dict[str, str | int | bool | bytes]:
    """`is_new` is called when the whole model has to be read, which happens once for each version of its file.

    Raises OSError when it cannot be read.
    """
    digest = content_digest(path, address.cache_dir() / "digests", is_new)
    options = context.options
    found: dict[str, str | int | bool | bytes] = {
        "version": VERSION,
        "model": digest,
        "build": library.build(),
        "libraries": library.fingerprint(),
        "layout": state.fingerprint,
        "type_k": options.type_k,
        "type_v": options.type_v,
        "swa_full": options.swa_full,
        # Prompts are cut otherwise, so KV may differ in its last bits.
        "deterministic": deterministic,
        # Rotates quantized KV, or does not (llama-kv-cache.cpp); nothing of it is in the state.
        "rotation": os.environ.get("LLAMA_ATTN_ROT_DISABLE", ""),
    }
    if any("rope_factors_long" in tensor.name for tensor in header.tensors):
        # LongRoPE chooses its factors by the length of the context (llama-model.cpp).
        found["n_ctx"] = context.n_ctx
    return found
