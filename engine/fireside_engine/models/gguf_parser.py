"""Turns the first bytes of a GGUF file into its settings and its tensor table, trusting none of them.

Every count, length and offset is bounded before it is used, and whatever is wrong ends as NotAModel: parsing goes on in
processes that must survive hostile files. Most of a header is the vocabulary; its texts are stepped over, not decoded.
The bytes come through a function, so that a header fetched from elsewhere is read by the same code as a file.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fireside_engine.errors import NotAModel
from fireside_engine.models.gguf_types import ARRAY, FIM_PREFIXES, MAGIC, SCALARS, STRING, TENSOR_TYPES
from fireside_engine.models.lookalike import describe_start
from fireside_engine.models.names import clean, readable_bytes

MAX_TENSORS = 100_000
"""The largest models have some thousands."""
MAX_PAIRS = 10_000
"""Settings; models have about fifty."""
MAX_ELEMENTS = 8_000_000
"""Texts of one array. The largest vocabularies have a quarter of a million tokens and half a million merges."""
MAX_TEXT = 16 * 1024 * 1024
MAX_KEY = 65_535
MAX_HEADER = 64 * 1024 * 1024
"""Everything before the tensor data. The headers of models with 260,000 tokens take 6 to 20 MiB."""
SHORT_ARRAY = 512
"""Arrays of numbers up to this length are kept whole: settings per layer are, vocabularies are not."""
SHORT_TEXTS = 64
START = struct.Struct("<4sIQQ")
AGAIN = "Download it again."

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_FIRST_FETCH = 1024 * 1024
_HEAD = 16
_MAX_TENSOR_ELEMENTS = 2**63 - 1
_MAX_TENSOR_NAME = 63
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1024 * 1024
_LEAST_PAIR = 13
"""Bytes of the smallest pair: an empty key, a type, one byte."""
_LEAST_TENSOR = 24
_FIM_TEXTS = tuple(_U64.pack(len(text.encode())) + text.encode() for text in FIM_PREFIXES)

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array too long to keep: a vocabulary, its scores, its merges."""

    length: int
    head: tuple[Scalar, ...]
    """The first values, to show."""


Value = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table; the data are never read."""

    name: str
    shape: tuple[int, ...]
    """In ggml's order: the length of a row first."""
    type: str
    """e.g. "Q4_K"."""
    offset: int
    """From the start of the tensor data of its file."""
    nbytes: int
    shard: int = 0
    """Which file of a split model holds it, from 0."""

    @property
    def n_elements(self) -> int:
        return functools.reduce(lambda product, n: product * n, self.shape, 1)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The header of one file."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    fim_in_vocabulary: bool
    raw_settings: Mapping[str, bytes]
    """Type and value of the settings as they stand in the file; those of the tokenizer are left out."""


def truncated(shown: str, size: int, expected: int) -> NotAModel:
    missing = expected - size
    return NotAModel(
        f"{shown} is truncated: {readable_bytes(missing)} of {readable_bytes(expected)} are missing at its end.",
        hint=f"Its download did not finish. {AGAIN}",
        missing=missing,
    )


def check_start(start: bytes, size: int, shown: str) -> tuple[int, int, int]:
    """(version, number of tensors, number of pairs) from the first bytes. Raises NotAModel."""
    if start[:4] != MAGIC:
        what, advice = describe_start(start)
        raise NotAModel(f"{shown} is not a GGUF model: {what}.", hint=advice)
    if size < START.size:
        raise truncated(shown, size, START.size)
    _, version, n_tensors, n_pairs = START.unpack_from(start)
    if version and version & 0xFFFF == 0:
        raise NotAModel(
            f"{shown} is a big-endian GGUF file, made for another kind of processor.",
            hint="Look for a little-endian version of the model.",
        )
    if version < 2:
        raise NotAModel(
            f"{shown} is a GGUF file of version {version}, which is no longer read.",
            hint="Look for a newer version of the model.",
        )
    if version > 3:
        raise NotAModel(
            f"{shown} is a GGUF file of version {version}; versions 2 and 3 are known.",
            hint="A newer fireside may know it; if not, the file is damaged.",
        )
    for count, most, what in ((n_tensors, MAX_TENSORS, "tensors"), (n_pairs, MAX_PAIRS, "settings")):
        if count > most:
            raise NotAModel(f"{shown} is damaged: it claims to hold {count} {what}.", hint=AGAIN)
    least = START.size + n_pairs * _LEAST_PAIR + n_tensors * _LEAST_TENSOR
    if size < least:
        raise truncated(shown, size, least)
    return version, n_tensors, n_pairs


def parse(fetch: Callable[[int], bytes], size: int, shown: str) -> Parsed:
    """The header of a file of `size` bytes whose first n bytes are `fetch(n)`, and whose name to show is `shown`.

    Raises NotAModel.
    """
    reader = _Reader(fetch, size, shown)
    reader.need(min(size, START.size))
    version, n_tensors, n_pairs = check_start(reader.data[: START.size], size, shown)
    reader.position = START.size
    metadata: dict[str, Value] = {}
    raw: dict[str, bytes] = {}
    fim = False
    for _ in range(n_pairs):
        name = reader.text(MAX_KEY)
        if not name or name in metadata:
            raise reader.damaged(f"the setting {clean(name)} appears twice" if name else "a setting has no name")
        begin = reader.position
        metadata[name] = _read_value(reader)
        if not name.startswith("tokenizer."):
            raw[name] = reader.data[begin : reader.position]
        if name == "tokenizer.ggml.tokens":
            fim = any(reader.data.find(text, begin, reader.position) >= 0 for text in _FIM_TEXTS)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise reader.damaged("its alignment is not a power of two")
    tensors = _read_tensors(reader, n_tensors, alignment)
    data_offset = -(-reader.position // alignment) * alignment if tensors else reader.position
    expected = data_offset + tensors[-1].offset + tensors[-1].nbytes if tensors else data_offset
    if expected > size:
        raise truncated(shown, size, expected)
    return Parsed(version, MappingProxyType(metadata), tensors, data_offset, fim, MappingProxyType(raw))


def _read_value(reader: _Reader) -> Value:
    kind = reader.number(_U32)
    if kind == STRING:
        return reader.text(MAX_TEXT)
    if kind != ARRAY:
        if kind not in SCALARS:
            raise reader.damaged(f"a setting has the unknown type {kind}")
        return reader.scalar(SCALARS[kind])
    kind, length = reader.number(_U32), reader.number(_U64)
    if kind == STRING:
        if length > MAX_ELEMENTS:
            raise reader.damaged(f"a list claims to hold {length} texts")
        head = tuple(reader.text(MAX_TEXT) for _ in range(length if length <= SHORT_TEXTS else _HEAD))
        reader.skip_texts(length - len(head))
        return head if len(head) == length else LongArray(length, head)
    if kind not in SCALARS:
        raise reader.damaged("a list holds lists" if kind == ARRAY else f"a list has the unknown type {kind}")
    item = SCALARS[kind]
    begin = reader.position
    reader.skip(length * item.size)
    kept = length if length <= SHORT_ARRAY else _HEAD
    values = struct.unpack_from(f"<{kept}{item.format[1:]}", reader.data, begin)
    return values if kept == length else LongArray(length, values)


def _read_tensors(reader: _Reader, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    """The table. As llama.cpp requires, each tensor begins where the one before it ended, rounded up."""
    tensors: dict[str, TensorInfo] = {}
    expected = 0
    for _ in range(count):
        name = reader.text(MAX_KEY)
        if len(name.encode()) > _MAX_TENSOR_NAME or name in tensors:
            raise reader.damaged(f"the name of the tensor {clean(name)[:80]} is too long or appears twice")
        n_dimensions = reader.number(_U32)
        if n_dimensions > _MAX_DIMENSIONS:
            raise reader.damaged(f"the tensor {clean(name)} has {n_dimensions} dimensions")
        shape = tuple(reader.number(_U64) for _ in range(n_dimensions)) or (1,)
        number, offset = reader.number(_U32), reader.number(_U64)
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            raise NotAModel(
                f"{reader.shown} has tensors of a type this version does not know ({number}).",
                hint="It may be made for another program; look for another quantization of the model.",
            )
        elements = functools.reduce(lambda product, n: product * n, shape, 1)
        if elements > _MAX_TENSOR_ELEMENTS or shape[0] % kind.block:
            raise reader.damaged(f"the tensor {clean(name)} has a shape that its type cannot have")
        nbytes = elements // kind.block * kind.size
        if offset != expected:
            raise reader.damaged(f"the tensor {clean(name)} is not where it should be")
        tensors[name] = TensorInfo(name, shape, kind.name, offset, nbytes)
        expected = -(-(offset + nbytes) // alignment) * alignment
    return tuple(tensors.values())


class _Reader:
    """A place in the bytes of a header, of which more are fetched as they are needed."""

    def __init__(self, fetch: Callable[[int], bytes], size: int, shown: str) -> None:
        self.data = b""
        self.position = 0
        self.shown = shown
        self._fetch = fetch
        self._size = size

    def damaged(self, what: str) -> NotAModel:
        return NotAModel(f"{self.shown} is damaged: {what}.", hint=AGAIN)

    def need(self, end: int) -> None:
        """Have the first `end` bytes at hand."""
        if end <= len(self.data):
            return
        if end > self._size:
            raise NotAModel(
                f"{self.shown} is truncated: it ends inside its header, after {readable_bytes(self._size)}.",
                hint=f"Its download did not finish. {AGAIN}",
            )
        if end > MAX_HEADER:
            raise self.damaged(f"its header is longer than {readable_bytes(MAX_HEADER)}")
        self.data = self._fetch(min(max(end, 2 * len(self.data), _FIRST_FETCH), self._size, MAX_HEADER))
        if end > len(self.data):
            raise NotAModel(f"{self.shown} became shorter while it was read.", hint=AGAIN)

    def skip(self, length: int) -> None:
        self.need(self.position + length)
        self.position += length

    def scalar(self, form: struct.Struct) -> Scalar:
        begin = self.position
        self.skip(form.size)
        value: Scalar = form.unpack_from(self.data, begin)[0]
        return value

    def number(self, form: struct.Struct) -> int:
        begin = self.position
        self.skip(form.size)
        return int(form.unpack_from(self.data, begin)[0])

    def text(self, limit: int) -> str:
        length = self.number(_U64)
        if length > limit:
            raise self.damaged(f"it claims a text of {length} bytes in its header")
        begin = self.position
        self.skip(length)
        return self.data[begin : begin + length].decode("utf-8", errors="replace")

    def skip_texts(self, count: int) -> None:
        """Step over texts without decoding them: a tenth of a microsecond each, and vocabularies have 500,000."""
        position, unpack = self.position, _U64.unpack_from
        while count:
            data = self.data
            try:
                for count in range(count, 0, -1):  # noqa: B020, B007 - where it stops is where it goes on
                    position += 8 + unpack(data, position)[0]
            except (struct.error, OverflowError):
                self.need(position + 8)
            else:
                break
        self.need(position)
        self.position = position
