"""Records for tests of the KV store, and a disk that fails or dies where a test wants it to."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fireside_engine.core.blocks import BLOCK, chain, root_key
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache.disk import Disk
from fireside_engine.kv_cache.found import Found
from fireside_engine.kv_cache.record import Kind, Record
from fireside_engine.kv_cache.store import Store

ROOT = root_key({"model": "tiny", "secret": b"1"})
OTHER_ROOT = root_key({"model": "tiny", "secret": b"2"})
ANN = Owner("local", "ann")
BOB = Owner("local", "bob")
NOBODY = Owner("local")
PAYLOAD = 600
"""Bytes for each token of a test's payload are few: one."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Crash(BaseException):
    """The process dies here."""


class FaultyDisk(Disk):
    """`plan` is asked before each operation and may raise."""

    def __init__(self) -> None:
        self.plan: Callable[[str, Path], None] | None = None
        self.operations = 0

    def before(self, operation: str, path: Path) -> None:
        self.operations += 1
        if self.plan is not None:
            self.plan(operation, path)


def nth(number: int, failure: BaseException) -> Callable[[str, Path], None]:
    """Fail at the n-th operation from now, counted from 1. A process dies where the test itself is at work."""
    left = [number]

    def plan(_operation: str, _path: Path) -> None:
        if isinstance(failure, Crash) and threading.current_thread() is not threading.main_thread():
            return
        left[0] -= 1
        if left[0] == 0:
            raise failure

    return plan


def always(code: int, *operations: str) -> Callable[[str, Path], None]:
    """Fail every one of these operations; all of them where none is named."""

    def plan(operation: str, path: Path) -> None:
        if not operations or operation in operations:
            raise OSError(code, os.strerror(code), str(path))

    return plan


FULL = always(errno.ENOSPC, "write", "mkdir")
READ_ONLY = always(errno.EROFS, "write", "mkdir", "rename", "unlink", "overwrite", "rmdir")


def text(length: int, seed: int = 0) -> list[int]:
    """Tokens; of another seed, others from the first on."""
    return [(seed * 7919 + position * 31) % 32000 for position in range(length)]


def payload_of(root: bytes, tokens: Sequence[int], *, kind: Kind = Kind.ROWS, size: int = PAYLOAD) -> bytes:
    """Bytes that nothing but this prefix has."""
    seed = hashlib.sha256(root + bytes([kind]) + repr(list(tokens)).encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def rows_of(
    tokens: Sequence[int],
    *,
    root: bytes = ROOT,
    owner: Owner = ANN,
    n_prefilled: int | None = None,
    label: str = "tiny",
    size: int = PAYLOAD,
) -> list[Record]:
    """All blocks of a prompt, the last one unfinished where it is so. n_prefilled: tokens from the front."""
    names = [root, *chain(root, tokens)]
    prefilled = len(tokens) if n_prefilled is None else n_prefilled
    records = []
    for number, start in enumerate(range(0, len(tokens), BLOCK)):
        block = tuple(tokens[start : start + BLOCK])
        payload = payload_of(root, tokens[: start + len(block)], size=size)
        count = min(max(0, prefilled - start), len(block))
        records.append(Record(Kind.ROWS, root, names[number], start, block, payload, owner, count, label))
    return records


def state_of(tokens: Sequence[int], *, root: bytes = ROOT, owner: Owner = ANN, size: int = PAYLOAD) -> Record:
    """A checkpoint after all of these."""
    last = rows_of(tokens, root=root)[-1]
    payload = payload_of(root, tokens, kind=Kind.STATE, size=size)
    return Record(Kind.STATE, root, last.parent, last.start, last.tokens, payload, owner, 0, "tiny")


def put(store: Store, tokens: Sequence[int], **options: object) -> int:
    return store.put(rows_of(tokens, **options))  # type: ignore[arg-type]


def restored(store: Store, tokens: Sequence[int], *, root: bytes = ROOT, size: int = PAYLOAD) -> int:
    """How many leading tokens can be read; asserts that every byte is what was put for them."""
    found = store.lookup(root, tokens)
    return check(store, found, tokens, size=size)


def check(store: Store, found: Found, tokens: Sequence[int], *, size: int = PAYLOAD) -> int:
    fetched = store.read(found, states=found.states)
    end = 0
    for piece, payload in zip(found.pieces, fetched.rows, strict=False):
        stored = (*tokens[: piece.start], *_tokens(piece.ids))
        assert stored[: piece.end] == tuple(tokens[: piece.end])
        assert bytes(payload) == payload_of(found.root, stored, size=size)
        end = piece.end
    for state, blob in zip(found.states, fetched.states, strict=True):
        expected = payload_of(found.root, tokens[: state.position], kind=Kind.STATE, size=size)
        assert blob is None or bytes(blob) == expected
    return end


def _tokens(ids: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(ids[at : at + 4], "little", signed=True) for at in range(0, len(ids), 4))


def files(directory: Path) -> list[Path]:
    """Of all records."""
    return sorted(path for path in (directory / "blocks").glob("*/*") if path.is_file())


def temporary_files(directory: Path) -> list[Path]:
    return [path for path in (directory / "tmp").rglob("*") if path.is_file() and path.suffix != ".lock"]
