"""What a GGUF file says of its model, without loading it: `read_header`, and the cheaper `quick_check`.

The engine describes files in processes where llama.cpp is never loaded, and refuses broken or hostile ones in words
before a worker meets them. A file is read, not mapped, because truncating a mapped file kills the process. The parts of
a split model are one model: they are checked and counted together.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fireside_engine.errors import ModelNotFound, NotAModel
from fireside_engine.models import names
from fireside_engine.models.gguf_parser import AGAIN, START, LongArray, TensorInfo, Value, check_start, parse
from fireside_engine.models.gguf_types import ENCODERS, FILE_TYPES

_FIM_KEYS = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
_COMPANIONS = frozenset({"adapter", "mmproj", "imatrix"})


@dataclass(frozen=True, slots=True)
class Header:
    """The settings and the tensor table of a model; of a split model, those of all its files together."""

    version: int
    metadata: Mapping[str, Value]
    """Of the first file, which has them all."""
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    """Where the tensor data of the first file begin."""
    file_size: int
    """Bytes of all files of the model."""
    n_shards: int = 1
    fim_in_vocabulary: bool = False
    raw_settings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of the first file, type and value as they stand there; without those of the tokenizer."""

    @property
    def n_tensors(self) -> int:
        return len(self.tensors)

    def text(self, name: str) -> str:
        """A setting that is a text; "" where there is none."""
        value = self.metadata.get(name)
        return value if isinstance(value, str) else ""

    def integer(self, name: str) -> int | None:
        value = self.metadata.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str:
        """e.g. "qwen2"; "" if the file does not say."""
        return self.text("general.architecture")

    def of_architecture(self, name: str) -> int | None:
        """A setting under the name of the architecture, e.g. "context_length"."""
        return self.integer(f"{self.architecture}.{name}")

    @property
    def kind(self) -> str:
        """What the file is: "model", or what lies beside models: "adapter", "mmproj", "imatrix", "controlvector"."""
        if self.architecture == "clip":
            return "mmproj"
        if self.architecture == "controlvector":
            return self.architecture
        kind = self.text("general.type")
        return kind if kind in _COMPANIONS else "model"

    @property
    def quant(self) -> str:
        """e.g. "Q4_K_M": what the file says, else the type that most bytes have."""
        declared = self.integer("general.file_type")
        if declared is not None and declared in FILE_TYPES:
            return FILE_TYPES[declared]
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.nbytes
        return max(sizes, key=sizes.__getitem__, default="")

    @property
    def n_ctx_train(self) -> int | None:
        return self.of_architecture("context_length")

    @property
    def block_count(self) -> int | None:
        return self.of_architecture("block_count")

    @property
    def n_params(self) -> int:
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def n_vocab(self) -> int | None:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, LongArray):
            return tokens.length
        return len(tokens) if isinstance(tokens, tuple) else self.of_architecture("vocab_size")

    @property
    def tokenizer(self) -> str:
        """Its kind and how it cuts text beforehand, e.g. "gpt2/qwen2"; models that draft for each other share it."""
        return "/".join(filter(None, (self.text("tokenizer.ggml.model"), self.text("tokenizer.ggml.pre"))))

    @property
    def prediction_heads(self) -> int:
        """Layers that were trained to predict the token after the next (nextn, MTP)."""
        return max(0, self.of_architecture("nextn_predict_layers") or 0)

    @property
    def chat_template(self) -> str:
        """Its Jinja source; "" where there is none."""
        return self.text("tokenizer.chat_template")

    @property
    def is_embedding_only(self) -> bool:
        """The model gives vectors instead of text: an encoder, or a decoder trained to pool its states."""
        causal = self.metadata.get(f"{self.architecture}.attention.causal")
        return self.architecture in ENCODERS or causal is False or bool(self.of_architecture("pooling_type"))

    @property
    def has_fim(self) -> bool:
        """The vocabulary has tokens for filling in the middle."""
        return self.fim_in_vocabulary or any(name in self.metadata for name in _FIM_KEYS)


def read_header(path: Path) -> Header:
    """The whole header, checked; of a split model, name its first file.

    Raises NotAModel, in words, when the file is something else, truncated, damaged or of a foreign version, or when a
    part is missing; ModelNotFound when there is no such file.
    """
    header = _read_file(path)
    count = header.integer("split.count") or 1
    if count > 1:
        header = _join(path, header, count)
    if not header.tensors:
        raise NotAModel(f"{names.clean(path.name)} holds no weights, only settings or a vocabulary.")
    return header


def quick_check(path: Path) -> None:
    """Whether it may be a model, from its first bytes and its size: microseconds. Raises as `read_header` does.

    Truncated weights and damage inside the header pass; `read_header` finds them.
    """
    size = _size(path)
    check_start(_fetch(path, START.size), size, names.clean(path.name))
    if shard := names.shard_of(path.name):
        _check_shards(path, *shard)


def _read_file(path: Path) -> Header:
    size = _size(path)
    found = parse(lambda length: _fetch(path, length), size, names.clean(path.name))
    return Header(
        version=found.version,
        metadata=found.metadata,
        tensors=found.tensors,
        data_offset=found.data_offset,
        file_size=size,
        fim_in_vocabulary=found.fim_in_vocabulary,
        raw_settings=found.raw_settings,
    )


def _join(path: Path, first: Header, count: int) -> Header:
    """The header of a split model, from that of its first file."""
    number = (first.integer("split.no") or 0) + 1
    if names.shard_of(path.name) != (number, count):
        raise NotAModel(
            f"{names.clean(path.name)} is part {number} of {count} of a split model, but is not named so.",
            hint=f"Give it back its name, which ends in -{number:05d}-of-{count:05d}.gguf.",
        )
    _check_shards(path, number, count)
    tensors = list(first.tensors)
    size = first.file_size
    for index, other in enumerate(names.shard_paths(path, count)[1:], start=1):
        part = _read_file(other)
        if (part.integer("split.no"), part.integer("split.count")) != (index, count):
            raise NotAModel(f"{names.clean(other.name)} is a part of another split model.", hint=AGAIN)
        tensors += [replace(tensor, shard=index) for tensor in part.tensors]
        size += part.file_size
    total = first.integer("split.tensors.count")
    if total is not None and total != len(tensors):
        raise NotAModel(
            f"The parts of {names.clean(names.stem(path.name))} hold {len(tensors)} tensors instead of {total}.",
            hint="They may come from different downloads. Download all of them again.",
        )
    return replace(first, tensors=tuple(tensors), file_size=size, n_shards=count)


def _check_shards(path: Path, number: int, count: int) -> None:
    """Raises NotAModel unless `path` is the first of `count` parts that are all there."""
    shards = names.shard_paths(path, count)
    missing = [names.clean(shard.name) for shard in shards if not shard.is_file()]
    if missing:
        some = ", ".join(missing[:3]) + (" and more" if len(missing) > 3 else "")
        verb = "is" if len(missing) == 1 else "are"
        raise NotAModel(
            f"{names.clean(path.name)} is one of {count} parts, of which {len(missing)} {verb} missing: {some}.",
            hint="Put all parts into the same folder.",
        )
    if number != 1:
        raise NotAModel(
            f"{names.clean(path.name)} is part {number} of {count} of a split model.",
            hint=f"Use its first part, {names.clean(shards[0].name)}.",
        )


def _size(path: Path) -> int:
    """Bytes of a regular file: opening a pipe or a device could wait for ever."""
    shown = names.clean(path.name)
    try:
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound(f"There is no file {shown}.", model=shown) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(info.st_mode):
        raise NotAModel(f"{shown} is {'a folder' if stat.S_ISDIR(info.st_mode) else 'not a regular file'}.")
    return info.st_size


def _fetch(path: Path, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> NotAModel:
    reason = (error.strerror if isinstance(error, OSError) else None) or "its path is not valid"
    return NotAModel(f"{names.clean(path.name)} cannot be read: {reason}.")
