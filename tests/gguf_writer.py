"""Writes GGUF files for tests: small valid ones, split ones, and any wrong one that a test describes.

It shares no code with the reader, so that the two check each other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    U64: "Q",
    I64: "q",
    F64: "d",
}
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144)}
"""Number, block and block size of the tensor types that tests use."""


@dataclass(frozen=True)
class Typed:
    """A value of exactly this type; a sequence becomes an array."""

    kind: int
    value: object


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...] = (32,)
    type: str = "F32"
    number: int | None = None
    """Overrides the type's number."""
    offset: int | None = None
    """Overrides where it lies."""

    @property
    def nbytes(self) -> int:
        _, block, size = TYPES[self.type]
        elements = 1
        for n in self.shape:
            elements *= n
        return elements // block * size


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(kind: int, value: object) -> bytes:
    return text(value) if isinstance(value, str | bytes) else struct.pack("<" + FORMATS[kind], value)


def pair(name: str, value: object) -> bytes:
    """One setting. Python values get a natural type; `Typed` chooses it."""
    if not isinstance(value, Typed):
        sample = value[0] if isinstance(value, list | tuple) else value
        kind = {bool: BOOL, int: U32, float: F32, str: STRING}[type(sample)]
        value = Typed(kind, value)
    if isinstance(value.value, list | tuple):
        body = struct.pack("<IIQ", ARRAY, value.kind, len(value.value))
        return text(name) + body + b"".join(_scalar(value.kind, item) for item in value.value)
    return text(name) + struct.pack("<I", value.kind) + _scalar(value.kind, value.value)


def padded(n: int, alignment: int) -> int:
    return n + -n % alignment


def gguf(
    metadata: Mapping[str, object],
    tensors: Sequence[Tensor] = (Tensor("token_embd.weight"),),
    *,
    version: int = 3,
    alignment: int = 32,
    n_tensors: int | None = None,
    n_pairs: int | None = None,
) -> bytes:
    """A whole file with zeros for data; counts may be lied about."""
    table, offset = b"", 0
    for tensor in tensors:
        number = TYPES[tensor.type][0] if tensor.number is None else tensor.number
        place = offset if tensor.offset is None else tensor.offset
        table += text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table += struct.pack("<IQ", number, place)
        offset = padded(offset + tensor.nbytes, alignment)
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(metadata) if n_pairs is None else n_pairs,
    )
    head += b"".join(pair(name, value) for name, value in metadata.items()) + table
    return head.ljust(padded(len(head), alignment), b"\0") + bytes(offset)


def settings(architecture: str = "llama", **more: object) -> dict[str, object]:
    """The settings of a small chat model; `more` are settings with "__" for "."."""
    return {
        "general.architecture": architecture,
        "general.file_type": 15,
        f"{architecture}.context_length": 2048,
        f"{architecture}.block_count": 2,
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b"],
        "tokenizer.chat_template": "{{ messages[0].content }}",
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def write_model(path: Path, architecture: str = "llama", *, size: int = 32, **more: object) -> Path:
    """A file that looks like a small chat model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf(settings(architecture, **more), [Tensor("token_embd.weight", (size,))]))
    return path


def write_split(folder: Path, stem: str, count: int) -> list[Path]:
    """A split model of `count` parts with one tensor each; only the first part has the model's settings."""
    paths = []
    for index in range(count):
        split = {
            "split.no": Typed(U16, index),
            "split.count": Typed(U16, count),
            "split.tensors.count": Typed(I32, count),
        }
        path = folder / f"{stem}-{index + 1:05d}-of-{count:05d}.gguf"
        path.write_bytes(gguf({**(settings() if index == 0 else {}), **split}, [Tensor(f"blk.{index}.weight")]))
        paths.append(path)
    return paths
