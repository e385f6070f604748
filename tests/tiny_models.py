"""Writes tiny models of random weights, with a real vocabulary and a chat template: one for each class of memory.

They load in the engine like any model, compute thousands of tokens per second and write nonsense that depends on every
token before it. So they stand in where a test is about KV, not about sense. The same arguments give the same bytes.

From a shell, for `fireside run -m FILE`: python tests/tiny_models.py llama|gemma3|lfm2|mamba|qwen35 FILE
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gguf_writer import F32, I32, Tensor, Typed, gguf, padded

Weights = list[tuple[str, NDArray[np.float32]]]

WIDTH, HEADS, KV_HEADS, HEAD, FEED = 128, 2, 1, 64, 256
"""Heads of 64 elements: as in real models quantized KV is rotated then, and q8_0 has whole blocks."""
WINDOW = 128
"""Of the model with sliding windows; short, so that its cells wrap soon."""
CONTEXT = 8192

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

WORDS = """
the of and to in is that it was for on are as with his they at be this have from or one had by word but not what all
were we when your can said there use an each which she do how their if will up other about out many then them these so
some her would make like him into time has look two more write go see number no way could people my than first water
been call who oil its now find long down day did get come made may part user system assistant hello fire side light
story house tree river night morning little again after before under while think known every where through
"""

CONTROL = ("<|im_start|>", "<|im_end|>")
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_BYTES = 3
"""Token of the byte 0; those of the others follow."""


def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Texts, scores and kinds of a SentencePiece vocabulary: bytes, characters, and words with all their beginnings.

    SentencePiece joins two neighbours to the piece with the best score, so a word is reached through its beginnings.
    """
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *CONTROL]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_CONTROL] * len(CONTROL)]
    pieces = dict.fromkeys(["▁", *(chr(i) for i in range(33, 127))])
    for word in WORDS.split():
        for text in ("▁" + word, word):
            pieces.update(dict.fromkeys(text[:n] for n in range(2, len(text) + 1)))
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces))]
    return tokens + list(pieces), scores, kinds + [_NORMAL] * len(pieces)


def _settings(architecture: str, layers: int, **more: object) -> dict[str, object]:
    tokens, scores, kinds = vocabulary()
    own = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": layers,
        "feed_forward_length": FEED,
        "attention.head_count": HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
        "vocab_size": len(tokens),
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return {
        "general.architecture": architecture,
        "general.name": f"tiny {architecture}",
        **{f"{architecture}.{name}": value for name, value in own.items()},
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": Typed(F32, scores),
        "tokenizer.ggml.token_type": Typed(I32, kinds),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": TEMPLATE,
    }


class _Draw:
    """Random weights by shape; a matrix keeps the size of what passes it."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
        return self._random.normal(0, scale, shape).astype(np.float32)

    def matrix(self, outputs: int, inputs: int, gain: float = 1.2) -> NDArray[np.float32]:
        return self.normal(outputs, inputs, scale=gain / inputs**0.5)


def ones(n: int) -> NDArray[np.float32]:
    return np.ones(n, np.float32)


def _ends(draw: _Draw, *, scale: float = 1.0) -> Weights:
    """Embeddings, and an output that never prefers a control token or a half character."""
    n = len(vocabulary()[0])
    output = draw.matrix(n, WIDTH, gain=3.0)
    output[: _BYTES + 256 + len(CONTROL)] = 0
    return [("token_embd.weight", draw.normal(n, WIDTH, scale=scale)), ("output.weight", output)]


def _attention(draw: _Draw, layer: str, *, norms: bool) -> Weights:
    """Queries are large, so that attention is sharp and single tokens far away matter."""
    found = [
        (layer + "attn_q.weight", draw.matrix(HEADS * HEAD, WIDTH, gain=3.0)),
        (layer + "attn_k.weight", draw.matrix(KV_HEADS * HEAD, WIDTH)),
        (layer + "attn_v.weight", draw.matrix(KV_HEADS * HEAD, WIDTH)),
        (layer + "attn_output.weight", draw.matrix(WIDTH, HEADS * HEAD, gain=3.0)),
    ]
    if norms:
        found += [(layer + f"attn_{x}_norm.weight", ones(HEAD) * (4 if x == "q" else 1)) for x in "qk"]
    return found


def _feed_forward(draw: _Draw, layer: str) -> Weights:
    return [
        (layer + "ffn_norm.weight", ones(WIDTH)),
        (layer + "ffn_gate.weight", draw.matrix(FEED, WIDTH)),
        (layer + "ffn_up.weight", draw.matrix(FEED, WIDTH)),
        (layer + "ffn_down.weight", draw.matrix(WIDTH, FEED)),
    ]


def _write(path: Path, settings: dict[str, object], weights: Iterable[tuple[str, NDArray[np.float32]]]) -> Path:
    weights = list(weights)
    raw = bytearray(gguf(settings, [Tensor(name, array.shape[::-1]) for name, array in weights]))
    place = len(raw) - sum(padded(array.nbytes, 32) for _, array in weights)
    for _, array in weights:
        raw[place : place + array.nbytes] = np.ascontiguousarray(array, np.float32).tobytes()
        place += padded(array.nbytes, 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def write_llama(path: Path, *, seed: int = 1, layers: int = 3) -> Path:
    """Plain attention: KV can be cut anywhere."""
    draw = _Draw(seed)
    weights = [*_ends(draw), ("output_norm.weight", ones(WIDTH))]
    for i in range(layers):
        name = f"blk.{i}."
        weights += [(name + "attn_norm.weight", ones(WIDTH))]
        weights += _attention(draw, name, norms=False) + _feed_forward(draw, name)
    heads = {"attention__key_length": HEAD, "attention__value_length": HEAD, "rope__dimension_count": HEAD}
    return _write(path, _settings("llama", layers, attention__head_count_kv=KV_HEADS, **heads), weights)


def write_gemma3(path: Path, *, seed: int = 2, layers: int = 6, window: int = WINDOW) -> Path:
    """Sliding windows: every sixth layer sees all, the others the last `window` tokens."""
    draw = _Draw(seed)
    # The architecture multiplies embeddings by the root of the width.
    weights = [*_ends(draw, scale=WIDTH**-0.5), ("output_norm.weight", ones(WIDTH))]
    for i in range(layers):
        name = f"blk.{i}."
        weights += [(name + f"{part}.weight", ones(WIDTH)) for part in ("attn_norm", "post_attention_norm")]
        weights += _attention(draw, name, norms=True) + _feed_forward(draw, name)
        weights += [(name + "post_ffw_norm.weight", ones(WIDTH))]
    more = {
        "attention__head_count_kv": KV_HEADS,
        "attention__key_length": HEAD,
        "attention__value_length": HEAD,
        "attention__sliding_window": window,
    }
    return _write(path, _settings("gemma3", layers, **more), weights)


def write_lfm2(path: Path, *, seed: int = 3, layers: int = 6, window: int = 0) -> Path:
    """A hybrid: every third layer attends, the others keep a recurrent state (a short convolution).

    window: its attention slides as well.
    """
    draw = _Draw(seed)
    taps = 3
    kv_heads = [KV_HEADS if i % 3 == 2 else 0 for i in range(layers)]
    weights = [*_ends(draw), ("token_embd_norm.weight", ones(WIDTH))]
    for i, attends in enumerate(kv_heads):
        name = f"blk.{i}."
        weights += [(name + "attn_norm.weight", ones(WIDTH)), *_feed_forward(draw, name)]
        if attends:
            weights += _attention(draw, name, norms=True)
        else:
            weights += [
                (name + "shortconv.conv.weight", draw.normal(WIDTH, taps, scale=0.7)),
                (name + "shortconv.in_proj.weight", draw.matrix(3 * WIDTH, WIDTH)),
                (name + "shortconv.out_proj.weight", draw.matrix(WIDTH, WIDTH)),
            ]
    more = {"attention__sliding_window": window} if window else {}
    settings = _settings("lfm2", layers, attention__head_count_kv=Typed(I32, kv_heads), shortconv__l_cache=taps, **more)
    return _write(path, settings, weights)


def write_mamba(path: Path, *, seed: int = 4, layers: int = 3) -> Path:
    """Recurrent state only: a sequence is one row of constant size."""
    draw = _Draw(seed)
    inner, taps, state, rank = 2 * WIDTH, 4, 16, 8
    weights = [*_ends(draw), ("output_norm.weight", ones(WIDTH))]
    # States that fade at many speeds, the slow ones over hundreds of tokens.
    speeds = -np.tile(np.geomspace(0.01, 4, state, dtype=np.float32), (inner, 1))
    for i in range(layers):
        name = f"blk.{i}."
        weights += [
            (name + "attn_norm.weight", ones(WIDTH)),
            (name + "ssm_in.weight", draw.matrix(2 * inner, WIDTH)),
            (name + "ssm_conv1d.weight", draw.normal(inner, taps, scale=0.7)),
            (name + "ssm_conv1d.bias", draw.normal(inner, scale=0.1)),
            (name + "ssm_x.weight", draw.matrix(rank + 2 * state, inner)),
            (name + "ssm_dt.weight", draw.matrix(inner, rank)),
            (name + "ssm_dt.bias", draw.normal(inner, scale=0.1)),
            (name + "ssm_a", speeds),
            (name + "ssm_d", ones(inner)),
            (name + "ssm_out.weight", draw.matrix(WIDTH, inner)),
        ]
    more = {
        "attention__head_count": 0,
        "feed_forward_length": 0,
        "ssm__conv_kernel": taps,
        "ssm__inner_size": inner,
        "ssm__state_size": state,
        "ssm__time_step_rank": rank,
    }
    return _write(path, _settings("mamba", layers, **more), weights)


def write_qwen35(path: Path, *, seed: int = 5, layers: int = 4) -> Path:
    """A hybrid of another kind: every other layer attends, with positions in several dimensions; the others keep the
    matrix of a gated delta rule."""
    draw = _Draw(seed)
    state, heads, taps = 32, 4, 4
    inner = state * heads
    mixed = 3 * inner
    weights = [*_ends(draw), ("output_norm.weight", ones(WIDTH))]
    for i in range(layers):
        name = f"blk.{i}."
        weights += [(name + f"{part}.weight", ones(WIDTH)) for part in ("attn_norm", "post_attention_norm")]
        weights += [pair for pair in _feed_forward(draw, name) if "norm" not in pair[0]]
        if i % 2:
            own = dict(_attention(draw, name, norms=True))
            # Queries come with a gate of the same size.
            own[name + "attn_q.weight"] = draw.matrix(2 * HEADS * HEAD, WIDTH)
            weights += own.items()
        else:
            weights += [
                (name + "attn_qkv.weight", draw.matrix(mixed, WIDTH, gain=3.0)),
                (name + "attn_gate.weight", draw.matrix(inner, WIDTH)),
                (name + "ssm_conv1d.weight", draw.normal(mixed, taps, scale=0.7)),
                (name + "ssm_dt.bias", draw.normal(heads, scale=0.1)),
                # Heads that forget at several speeds.
                (name + "ssm_a", -np.geomspace(0.002, 0.5, heads, dtype=np.float32)),
                (name + "ssm_beta.weight", draw.matrix(heads, WIDTH)),
                (name + "ssm_alpha.weight", draw.matrix(heads, WIDTH)),
                (name + "ssm_norm.weight", ones(state)),
                (name + "ssm_out.weight", draw.matrix(WIDTH, inner, gain=3.0)),
            ]
    more = {
        "attention__head_count_kv": KV_HEADS,
        "attention__key_length": HEAD,
        "attention__value_length": HEAD,
        "rope__dimension_count": HEAD,
        "rope__dimension_sections": Typed(I32, [11, 11, 10, 0]),
        "full_attention_interval": 2,
        "ssm__conv_kernel": taps,
        "ssm__inner_size": inner,
        "ssm__state_size": state,
        "ssm__time_step_rank": heads,
        "ssm__group_count": heads,
    }
    return _write(path, _settings("qwen35", layers, **more), weights)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": write_llama,
    "gemma3": write_gemma3,
    "lfm2": write_lfm2,
    "mamba": write_mamba,
    "qwen35": write_qwen35,
}

if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
