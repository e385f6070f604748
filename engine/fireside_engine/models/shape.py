"""From a header to the shape of its model: bytes by layer from the tensor table, KV from the settings.

What the table says is exact for every model. What KV takes is known for attention in groups (GQA), latent attention
(MLA), sliding windows, and the recurrent layers named here; llama.cpp's own dry run is asked wherever it can be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fireside_engine.core.shape import Layer, Shape
from fireside_engine.models.gguf import Header

_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "llama4": 4, "exaone4": 4, "olmo2": 4}
"""Every n-th layer sees everything, the others a window (llama.cpp's src/models/*.cpp)."""


def shape_of(header: Header) -> Shape:
    n_layer = header.block_count or 0
    dense, experts = [0] * n_layer, [0] * n_layer
    embedding = output = 0
    tied = True
    types: dict[str, int] = {}
    for tensor in header.tensors:
        types[tensor.type] = types.get(tensor.type, 0) + tensor.nbytes
        found = _BLOCK.match(tensor.name)
        if found and int(found[1]) < n_layer:
            kind = experts if _EXPERTS.search(tensor.name) else dense
            kind[int(found[1])] += tensor.nbytes
        elif tensor.name.startswith("token_embd"):
            embedding += tensor.nbytes
        else:
            output += tensor.nbytes
            tied = tied and tensor.name != "output.weight"
    n_swa = header.of_architecture("attention.sliding_window") or 0
    windowed = _windowed(header, n_layer) if n_swa else [False] * n_layer
    k, v = _kv(header, n_layer)
    states = _states(header, n_layer)
    layers = tuple(
        Layer(dense[i], experts[i], 0 if states[i] else k[i], 0 if states[i] else v[i], windowed[i], states[i])
        for i in range(n_layer)
    )
    return Shape(
        architecture=header.architecture,
        layers=layers,
        embedding=embedding,
        output=output,
        tied=tied,
        n_ctx_train=header.n_ctx_train or 0,
        n_vocab=header.n_vocab or 0,
        n_embd=header.of_architecture("embedding_length") or 0,
        n_ff=_expert_width(header) or max(_per_layer(header, "feed_forward_length", n_layer), default=0),
        n_params=header.n_params,
        n_swa=n_swa,
        n_experts=header.of_architecture("expert_count") or 0,
        n_experts_used=header.of_architecture("expert_used_count") or 0,
        types=types,
    )


def _per_layer(header: Header, name: str, n_layer: int, default: int = 0) -> list[int]:
    """A setting that is one number for all layers, or one for each."""
    value = header.metadata.get(f"{header.architecture}.{name}")
    if isinstance(value, tuple):
        numbers = [int(number) for number in value if isinstance(number, int)]
        return (numbers + [default] * n_layer)[:n_layer]
    return [value if isinstance(value, int) else default] * n_layer


def _kv(header: Header, n_layer: int) -> tuple[list[int], list[int]]:
    """Elements of K and of V for one token, by layer."""
    if (rank := header.of_architecture("attention.kv_lora_rank")) and header.of_architecture(
        "attention.key_length_mla"
    ):
        rope = header.of_architecture("rope.dimension_count") or 0
        return [rank + rope] * n_layer, [0] * n_layer
    heads = _per_layer(header, "attention.head_count", n_layer)
    kv_heads = _per_layer(header, "attention.head_count_kv", n_layer, default=-1)
    width = (header.of_architecture("embedding_length") or 0) // max(1, max(heads, default=1))
    k_length = header.of_architecture("attention.key_length") or width
    v_length = header.of_architecture("attention.value_length") or width
    groups = [kv if kv >= 0 else own for kv, own in zip(kv_heads, heads, strict=True)]
    return [n * k_length for n in groups], [n * v_length for n in groups]


def _windowed(header: Header, n_layer: int) -> Sequence[bool]:
    """Which layers see a window only."""
    value = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    if isinstance(value, tuple) and len(value) >= n_layer:
        return [bool(item) for item in value[:n_layer]]
    pattern = value if isinstance(value, int) and value > 0 else _PATTERNS.get(header.architecture, 0)
    return [bool(pattern) and layer % pattern < pattern - 1 for layer in range(n_layer)]


def _states(header: Header, n_layer: int) -> list[int]:
    """Bytes of recurrent state by layer: 4 for each element, whatever the type of KV."""
    kv_heads = _per_layer(header, "attention.head_count_kv", n_layer, default=-1)
    n_embd = header.of_architecture("embedding_length") or 0
    if cache := header.of_architecture("shortconv.l_cache"):
        return [(cache - 1) * n_embd * 4 if kv == 0 else 0 for kv in kv_heads]
    if inner := header.of_architecture("ssm.inner_size"):
        state = header.of_architecture("ssm.state_size") or 0
        conv = header.of_architecture("ssm.conv_kernel") or 1
        groups = header.of_architecture("ssm.group_count") or 0
        size = 4 * ((conv - 1) * (inner + 2 * groups * state) + state * inner)
        interval = header.of_architecture("full_attention_interval") or 0
        if interval:
            return [size if (layer + 1) % interval else 0 for layer in range(n_layer)]
        pure = all(kv in (-1, 0) for kv in kv_heads)
        return [size if pure or kv == 0 else 0 for kv in kv_heads]
    return [0] * n_layer


def _expert_width(header: Header) -> int:
    return header.of_architecture("expert_feed_forward_length") or 0
