"""Writes GGUF files with the shapes of large models and a hole for their weights: some KiB on disk, exact to a dry run.

Shapes are those of the models' published configurations. From a shell: python tests/large_shapes.py llama-8b FILE
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gguf_writer import padded, pair, text

TYPES = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34), "q4_K": (12, 256, 144),
    "q5_K": (13, 256, 176), "q6_K": (14, 256, 210),
}  # fmt: skip
Tensors = list[tuple[str, str, list[int]]]


FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_K": 15, "q5_K": 17, "q6_K": 18}


def write(
    path: Path,
    architecture: str,
    settings: Mapping[str, object],
    tensors: Tensors,
    vocabulary: int,
    *,
    quant: str = "q4_K",
) -> None:
    own = {f"{architecture}.{name}": value for name, value in settings.items()}
    metadata = {
        "general.architecture": architecture,
        "general.file_type": FILE_TYPES[quant],
        f"{architecture}.vocab_size": vocabulary,
        **own,
        "tokenizer.ggml.model": "no_vocab",
    }
    table, offset = b"", 0
    for name, kind, shape in tensors:
        number, block, size = TYPES[kind]
        table += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", number, offset)
        elements = 1
        for n in shape:
            elements *= n
        offset = padded(offset + elements // block * size, 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(pair(name, value) for name, value in metadata.items()) + table
    with path.open("wb") as file:
        file.write(head.ljust(padded(len(head), 32), b"\0"))
        file.truncate(padded(len(head), 32) + offset)


def attention(layer: str, d: int, heads: int, kv: int, head: int, q: str, qo: str, *, norms: bool) -> Tensors:
    extra: Tensors = [(f"{layer}attn_q_norm.weight", "f32", [head]), (f"{layer}attn_k_norm.weight", "f32", [head])]
    return [
        (f"{layer}attn_norm.weight", "f32", [d]),
        *(extra if norms else []),
        (f"{layer}attn_q.weight", q, [d, heads * head]),
        (f"{layer}attn_k.weight", q, [d, kv * head]),
        (f"{layer}attn_v.weight", qo, [d, kv * head]),
        (f"{layer}attn_output.weight", q, [heads * head, d]),
    ]


def feed_forward(layer: str, d: int, ff: int, q: str, qo: str) -> Tensors:
    return [
        (f"{layer}ffn_norm.weight", "f32", [d]),
        (f"{layer}ffn_gate.weight", q, [d, ff]),
        (f"{layer}ffn_up.weight", q, [d, ff]),
        (f"{layer}ffn_down.weight", qo, [ff, d]),
    ]


def experts(layer: str, d: int, ff: int, n: int, q: str, qo: str) -> Tensors:
    return [
        (f"{layer}ffn_norm.weight", "f32", [d]),
        (f"{layer}ffn_gate_inp.weight", "f32", [d, n]),
        (f"{layer}ffn_gate_exps.weight", q, [d, ff, n]),
        (f"{layer}ffn_up_exps.weight", q, [d, ff, n]),
        (f"{layer}ffn_down_exps.weight", qo, [ff, d, n]),
    ]


def ends(d: int, vocabulary: int, q: str, qo: str) -> Tensors:
    return [
        ("token_embd.weight", q, [d, vocabulary]),
        ("output_norm.weight", "f32", [d]),
        ("output.weight", qo, [d, vocabulary]),
    ]


def llama(path: Path, *, q: str = "q4_K", qo: str = "q6_K") -> None:
    """Llama 3.1 8B."""
    d, ff, heads, kv, vocabulary = 4096, 14336, 32, 8, 128256
    settings = {
        "block_count": 32, "context_length": 131072, "embedding_length": d, "feed_forward_length": ff,
        "attention.head_count": heads, "attention.head_count_kv": kv, "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 500000.0,
    }  # fmt: skip
    tensors = ends(d, vocabulary, q, qo)
    for i in range(32):
        tensors += attention(f"blk.{i}.", d, heads, kv, d // heads, q, qo, norms=False)
        tensors += feed_forward(f"blk.{i}.", d, ff, q, qo)
    write(path, "llama", settings, tensors, vocabulary, quant=q)


def qwen3_moe(path: Path) -> None:
    """Qwen3 30B-A3B."""
    d, ff, heads, kv, head, n, vocabulary = 2048, 768, 32, 4, 128, 128, 151936
    settings = {
        "block_count": 48, "context_length": 40960, "embedding_length": d, "feed_forward_length": 6144,
        "attention.head_count": heads, "attention.head_count_kv": kv, "attention.key_length": head,
        "attention.value_length": head, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6,
        "expert_count": n, "expert_used_count": 8, "expert_feed_forward_length": ff,
    }  # fmt: skip
    tensors = ends(d, vocabulary, "q4_K", "q6_K")
    for i in range(48):
        tensors += attention(f"blk.{i}.", d, heads, kv, head, "q4_K", "q6_K", norms=True)
        tensors += experts(f"blk.{i}.", d, ff, n, "q4_K", "q6_K")
    write(path, "qwen3moe", settings, tensors, vocabulary)


def gemma3(path: Path) -> None:
    """Gemma 3 12B: five layers with a window of 1,024 tokens to each one without; the output is the embedding."""
    d, ff, heads, kv, head, vocabulary = 3840, 15360, 16, 8, 256, 262208
    settings = {
        "block_count": 48, "context_length": 131072, "embedding_length": d, "feed_forward_length": ff,
        "attention.head_count": heads, "attention.head_count_kv": kv, "attention.key_length": head,
        "attention.value_length": head, "attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 1024,
        "rope.freq_base": 1e6,
    }  # fmt: skip
    tensors = ends(d, vocabulary, "q6_K", "q6_K")[:2]
    for i in range(48):
        tensors += attention(f"blk.{i}.", d, heads, kv, head, "q4_K", "q6_K", norms=True)
        tensors += feed_forward(f"blk.{i}.", d, ff, "q4_K", "q6_K")
        tensors += [(f"blk.{i}.post_{name}_norm.weight", "f32", [d]) for name in ("attention", "ffw")]
    write(path, "gemma3", settings, tensors, vocabulary)


def deepseek2(path: Path) -> None:
    """DeepSeek-V2-Lite: latent attention, which keeps 512 + 64 elements for each token and layer."""
    d, heads, n, ff, shared, rank, rope, nope, value, vocabulary = 2048, 16, 64, 1408, 2, 512, 64, 128, 128, 102400
    settings = {
        "block_count": 27, "context_length": 163840, "embedding_length": d, "feed_forward_length": 10944,
        "attention.head_count": heads, "attention.head_count_kv": 1, "attention.key_length": rank + rope,
        "attention.value_length": rank, "attention.key_length_mla": nope + rope, "attention.value_length_mla": value,
        "attention.kv_lora_rank": rank, "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": rope,
        "rope.freq_base": 10000.0, "leading_dense_block_count": 1, "expert_count": n, "expert_used_count": 6,
        "expert_feed_forward_length": ff, "expert_shared_count": shared, "expert_weights_scale": 1.0,
    }  # fmt: skip
    tensors = ends(d, vocabulary, "q4_K", "q6_K")
    for i in range(27):
        layer = f"blk.{i}."
        tensors += [
            (f"{layer}attn_norm.weight", "f32", [d]),
            (f"{layer}attn_kv_a_norm.weight", "f32", [rank]),
            (f"{layer}attn_q.weight", "q4_K", [d, heads * (nope + rope)]),
            (f"{layer}attn_kv_a_mqa.weight", "q8_0", [d, rank + rope]),
            (f"{layer}attn_k_b.weight", "q8_0", [nope, rank, heads]),
            (f"{layer}attn_v_b.weight", "q8_0", [rank, value, heads]),
            (f"{layer}attn_output.weight", "q4_K", [heads * value, d]),
        ]
        if i == 0:
            tensors += feed_forward(layer, d, 10944, "q8_0", "q8_0")
            continue
        tensors += experts(layer, d, ff, n, "q4_K", "q8_0")
        tensors += [(f"{layer}ffn_{name}_shexp.weight", "q4_K", [d, ff * shared]) for name in ("gate", "up")]
        tensors.append((f"{layer}ffn_down_shexp.weight", "q6_K", [ff * shared, d]))
    write(path, "deepseek2", settings, tensors, vocabulary)


def lfm2(path: Path) -> None:
    """LFM2 1.2B: a hybrid; short convolutions, and attention in six of sixteen layers."""
    d, ff, heads, head, cache, vocabulary = 2048, 8192, 32, 64, 3, 65536
    kv = [8 if i in (2, 5, 8, 10, 12, 14) else 0 for i in range(16)]
    settings = {
        "block_count": 16, "context_length": 128000, "embedding_length": d, "feed_forward_length": ff,
        "attention.head_count": heads, "attention.head_count_kv": kv, "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 1e6, "shortconv.l_cache": cache,
    }  # fmt: skip
    tensors: Tensors = [("token_embd.weight", "q6_K", [d, vocabulary]), ("token_embd_norm.weight", "f32", [d])]
    for i in range(16):
        layer = f"blk.{i}."
        tensors += feed_forward(layer, d, ff, "q4_K", "q6_K")
        if kv[i]:
            tensors += attention(layer, d, heads, kv[i], head, "q4_K", "q6_K", norms=True)
            continue
        tensors += [
            (f"{layer}attn_norm.weight", "f32", [d]),
            (f"{layer}shortconv.conv.weight", "f32", [cache, d]),
            (f"{layer}shortconv.in_proj.weight", "q4_K", [d, 3 * d]),
            (f"{layer}shortconv.out_proj.weight", "q4_K", [d, d]),
        ]
    write(path, "lfm2", settings, tensors, vocabulary)


WRITERS: dict[str, Callable[[Path], None]] = {
    "llama-8b": llama,
    "qwen3-30b-a3b": qwen3_moe,
    "gemma-3-12b": gemma3,
    "deepseek-v2-lite": deepseek2,
    "lfm2-1.2b": lfm2,
}

if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
