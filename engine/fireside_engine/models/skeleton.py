"""A GGUF file with all the shapes of a model and nothing else: what a dry run of llama.cpp reads.

It is written anew from a checked header, so llama.cpp never sees a byte of the original that our parser did not
understand. The vocabulary is left out, which makes loading take milliseconds; the weights are a hole in the file. So
it takes no more than the header, and a header that was fetched from elsewhere does as well as the whole file.
"""

from __future__ import annotations

import struct
from pathlib import Path

from fireside_engine.errors import NotAModel
from fireside_engine.models.gguf import Header
from fireside_engine.models.gguf_types import MAGIC, STRING, TENSOR_TYPES

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_ALIGNMENT = 32
_U32 = 4
_LEFT_OUT = ("tokenizer.", "split.", "general.alignment")


def write_skeleton(header: Header, path: Path) -> None:
    """Raises NotAModel when the header lacks what llama.cpp needs, OSError when the file cannot be written."""
    architecture = header.architecture
    if not architecture:
        raise NotAModel("The file does not say which architecture its model has.")
    settings = {name: raw for name, raw in header.raw_settings.items() if not name.startswith(_LEFT_OUT)}
    settings["tokenizer.ggml.model"] = struct.pack("<I", STRING) + _text("no_vocab")
    if header.n_vocab:
        settings[f"{architecture}.vocab_size"] = struct.pack("<II", _U32, header.n_vocab)
    table, offset = [], 0
    for tensor in header.tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table.append(_text(tensor.name) + shape + struct.pack("<IQ", _NUMBERS[tensor.type], offset))
        offset += tensor.nbytes + -tensor.nbytes % _ALIGNMENT
    head = MAGIC + struct.pack("<IQQ", 3, len(table), len(settings))
    head += b"".join(_text(name) + raw for name, raw in settings.items()) + b"".join(table)
    head += bytes(-len(head) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + offset)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw
