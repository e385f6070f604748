"""Names of KV blocks: a chain of hashes, so that a name says what every token before it was.

A prompt is cut into blocks of BLOCK tokens. The name of a block is a hash of the name before it and of its own tokens;
the chain begins at a root that holds everything which makes a state unusable elsewhere. Equal names therefore mean
equal tokens from position 0 on, in the same model driven in the same way, for the same tenant. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Tokens of a full block."""
KEY_BYTES = 32
TOKEN_BYTES = 4

Tokens = Sequence[int] | NDArray[np.integer]


def pack(tokens: Tokens) -> bytes:
    """Token ids as 32-bit little-endian integers. Raises OverflowError when one does not fit."""
    ids = np.asarray(tokens, dtype=np.int64)
    if ids.size and (int(ids.max()) > 0x7FFFFFFF or int(ids.min()) < -0x80000000):
        raise OverflowError("a token id needs more than 32 bits")
    return ids.astype("<i4").tobytes()


def unpack(ids: bytes) -> tuple[int, ...]:
    """Inverse of `pack`."""
    return tuple(np.frombuffer(ids, dtype="<i4").tolist())


def root_key(parts: Mapping[str, str | int | bool | bytes]) -> bytes:
    """The name before the first block. The order of `parts` does not matter; their types do: 1, True and "1" differ."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=b"fireside root")
    for name in sorted(parts):
        for field in (name.encode(), _typed(parts[name])):
            digest.update(len(field).to_bytes(8, "little"))
            digest.update(field)
    return digest.digest()


def _typed(value: str | int | bool | bytes) -> bytes:
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if isinstance(value, int):
        return b"i%d" % value
    return b"s" + value.encode() if isinstance(value, str) else b"y" + value


def block_key(parent: bytes, tokens: Tokens) -> bytes:
    """The name of a block whose predecessor is named `parent`; of a first block that is the root."""
    return packed_key(parent, pack(tokens))


def packed_key(parent: bytes, ids: bytes) -> bytes:
    """`block_key` of tokens that are packed already."""
    return hashlib.blake2b(parent + ids, digest_size=KEY_BYTES, person=b"fireside block").digest()


def chain(root: bytes, tokens: Tokens) -> list[bytes]:
    """Names of all full blocks of `tokens`, in order."""
    return packed_chain(root, pack(tokens))


def packed_chain(root: bytes, ids: bytes) -> list[bytes]:
    """`chain` of tokens that are packed already."""
    step = BLOCK * TOKEN_BYTES
    keys: list[bytes] = []
    parent = root
    for at in range(0, len(ids) - step + 1, step):
        parent = packed_key(parent, ids[at : at + step])
        keys.append(parent)
    return keys


def last_block(length: int) -> int:
    """Where the last block of a prefix of `length` tokens begins; a full block belongs to itself, not to the next."""
    return max(0, length - 1) // BLOCK * BLOCK


def prefix_key(root: bytes, tokens: Tokens) -> bytes:
    """The name of the record that ends where `tokens` end: of their last block, full or not."""
    ids = pack(tokens)
    cut = last_block(len(ids) // TOKEN_BYTES) * TOKEN_BYTES
    before = packed_chain(root, ids[:cut])
    return packed_key(before[-1] if before else root, ids[cut:])


def common(first: bytes, second: bytes) -> int:
    """How many leading tokens two packed sequences share."""
    length = min(len(first), len(second)) // TOKEN_BYTES
    if first[: length * TOKEN_BYTES] == second[: length * TOKEN_BYTES]:
        return length
    left = np.frombuffer(first, dtype="<i4", count=length)
    right = np.frombuffer(second, dtype="<i4", count=length)
    return int(np.argmax(left != right))
