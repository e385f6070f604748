"""A record as a file: a header of 4 KiB and a payload, both under a hash.

llama.cpp takes corrupt KV without a word, so nothing of a payload leaves this package before its hash is checked. The
header holds the tokens themselves: a record is used because its tokens are those of the prompt, not because its name is
right. Fields of the header, little-endian:

    magic 8 · version u16 · kind u16 · start u32 · n_tokens u32 · n_prefilled u32 · payload length u64
    payload hash 16 · key 32 · parent 32 · root 32 · token ids 256 × i32
    tenant, conversation, label: u16 length and UTF-8 each · zeros · hash of all of it 32

The payload's hash is XXH3 with 128 bits: it finds every accident, and 57 MB (2,048 tokens of a small model) take it
2 ms where SHA-256 takes 30 and BLAKE2b 44 (docs/log.md). Forgery is not its business: directory and files are their
owner's alone.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from enum import IntEnum

import xxhash

from fireside_engine.core.blocks import BLOCK, KEY_BYTES, TOKEN_BYTES, pack, packed_key
from fireside_engine.core.owner import Owner

HEADER_BYTES = 4096
MAGIC = b"FSKVREC\n"
VERSION = 1
LONGEST_TENANT = 128
LONGEST_CONVERSATION = 512
LONGEST_LABEL = 256
"""Bytes of UTF-8."""

_FIXED = struct.Struct(f"<8sHHIIIQ16s{KEY_BYTES}s{KEY_BYTES}s{KEY_BYTES}s{BLOCK * TOKEN_BYTES}s")
_LENGTH = struct.Struct("<H")
_HASHED = HEADER_BYTES - 32

Payload = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What a payload is."""

    ROWS = 0
    """KV rows of the tokens `start` up to `start + n`, one block."""
    STATE = 1
    """What a model of another memory class needs to go on after these tokens; belongs to a position, not to a range."""


class Doubt(Exception):
    """A record that may not be used. The text says why, for counters and tests; it holds no tokens."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be stored. Raises ValueError where its parts do not fit together."""

    kind: Kind
    root: bytes
    parent: bytes
    """Name of the block before, or the root."""
    start: int
    """Position of the first token, a multiple of BLOCK. A checkpoint's block is the one that its last token is in."""
    tokens: tuple[int, ...]
    """Of the block, 1 to BLOCK; a checkpoint stands after the last of them."""
    payload: Payload
    owner: Owner
    n_prefilled: int = 0
    """How many leading rows of this block came from pieces of a prompt; the others were generated one by one."""
    label: str = ""
    """The model's name, for people."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.tokens) <= BLOCK or self.start % BLOCK or self.start < 0:
            raise ValueError(f"a record of {len(self.tokens)} tokens from {self.start} is no block")
        if not 0 <= self.n_prefilled <= len(self.tokens):
            raise ValueError(f"{self.n_prefilled} of {len(self.tokens)} tokens cannot come from a prompt")
        if len(self.root) != KEY_BYTES or len(self.parent) != KEY_BYTES:
            raise ValueError("a name has another length")
        if len(self.owner.tenant.encode()) > LONGEST_TENANT:
            raise ValueError(f"a tenant's name has more than {LONGEST_TENANT} bytes")
        if len(self.owner.conversation.encode()) > LONGEST_CONVERSATION:
            raise ValueError(f"a conversation's name has more than {LONGEST_CONVERSATION} bytes")
        if (self.start == 0) != (self.parent == self.root):
            raise ValueError("the first block hangs on the root, and no other does")

    @property
    def key(self) -> bytes:
        return packed_key(self.parent, pack(self.tokens))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return HEADER_BYTES + memoryview(self.payload).nbytes

    @property
    def position(self) -> int:
        """Tokens before the end of the record."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    kind: Kind
    start: int
    n_prefilled: int
    payload_bytes: int
    payload_hash: bytes
    key: bytes
    parent: bytes
    root: bytes
    ids: bytes
    owner: Owner
    label: str

    @property
    def n_tokens(self) -> int:
        return len(self.ids) // TOKEN_BYTES

    @property
    def size(self) -> int:
        return HEADER_BYTES + self.payload_bytes

    def owned_by(self, owner: Owner) -> Header:
        return replace(self, owner=owner)


def payload_hash(payload: Payload) -> bytes:
    """Lets other threads run while it computes."""
    return xxhash.xxh3_128_digest(payload)


def outline(record: Record) -> Header:
    """The header without the hash of the payload."""
    ids = pack(record.tokens)
    return Header(
        kind=record.kind,
        start=record.start,
        n_prefilled=record.n_prefilled,
        payload_bytes=memoryview(record.payload).nbytes,
        payload_hash=b"",
        key=packed_key(record.parent, ids),
        parent=record.parent,
        root=record.root,
        ids=ids,
        owner=record.owner,
        label=record.label,
    )


def header_of(record: Record) -> Header:
    """Hashes the payload."""
    return replace(outline(record), payload_hash=payload_hash(record.payload))


def encode(header: Header) -> bytes:
    """HEADER_BYTES bytes."""
    fixed = _FIXED.pack(
        MAGIC, VERSION, header.kind, header.start, header.n_tokens, header.n_prefilled, header.payload_bytes,
        header.payload_hash, header.key, header.parent, header.root, header.ids,
    )  # fmt: skip
    label = header.label.encode()[:LONGEST_LABEL].decode(errors="ignore")
    texts = b"".join(
        _LENGTH.pack(len(text)) + text
        for text in (header.owner.tenant.encode(), header.owner.conversation.encode(), label.encode())
    )
    body = (fixed + texts).ljust(_HASHED, b"\0")
    return body + _header_hash(body)


def decode(data: bytes) -> Header:
    """Raises Doubt unless `data` is what `encode` made, bit for bit, and its name is that of its tokens."""
    if len(data) != HEADER_BYTES:
        raise Doubt("the header is cut off")
    body = data[:_HASHED]
    if _header_hash(body) != data[_HASHED:]:
        raise Doubt("the header's hash is another")
    (magic, version, kind, start, n_tokens, n_prefilled, payload_bytes, digest, key, parent, root, ids) = (
        _FIXED.unpack_from(body)
    )
    if magic != MAGIC or version != VERSION or kind not in set(Kind):
        raise Doubt("the header is of another version")
    if not 1 <= n_tokens <= BLOCK or n_prefilled > n_tokens or start % BLOCK:
        raise Doubt("the header contradicts itself")
    ids = ids[: n_tokens * TOKEN_BYTES]
    if packed_key(parent, ids) != key:
        raise Doubt("the name is not that of the tokens")
    tenant, conversation, label = _texts(body, _FIXED.size)
    return Header(
        Kind(kind),
        start,
        n_prefilled,
        payload_bytes,
        digest,
        key,
        parent,
        root,
        ids,
        Owner(tenant, conversation),
        label,
    )


def _texts(body: bytes, at: int) -> tuple[str, str, str]:
    texts: list[str] = []
    for _ in range(3):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        texts.append(body[at : at + length].decode())
        at += length
    return texts[0], texts[1], texts[2]


def _header_hash(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32, person=b"fireside header").digest()
