"""What the KV store costs: hashes, look-ups, writing, reading. No model.

usage: kv_store_bench.py [DIRECTORY]
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import xxhash

sys.path.insert(0, str(Path(__file__).parents[1]))

from fireside_engine.core.blocks import BLOCK, chain
from fireside_engine.kv_cache.store import Store
from kv_faults import ANN, ROOT, rows_of

PER_TOKEN = 28 * 1024
"""Bytes of KV for one token of Qwen2.5-Coder 1.5B in f16."""


def milliseconds(act: Callable[[], object], count: int = 7) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def text(length: int, seed: int) -> list[int]:
    return [(seed * 7919 + position * 31) % 150_000 for position in range(length)]


def hashes() -> None:
    data = os.urandom(2048 * PER_TOKEN)
    names: dict[str, Callable[[], object]] = {
        "xxh3 128": lambda: xxhash.xxh3_128_digest(data),
        "crc32": lambda: zlib.crc32(data),
        "sha256": lambda: hashlib.sha256(data).digest(),
        "blake2b": lambda: hashlib.blake2b(data).digest(),
    }
    for name, act in names.items():
        print(f"hash of {len(data) / 1e6:.0f} MB, {name:<8}  {milliseconds(act):6.1f} ms")


def real_blocks(directory: Path) -> None:
    store = Store(directory / "real", budget=1 << 40)
    for length in (512, 2048, 8192):
        tokens = text(length, length)
        records = rows_of(tokens, size=BLOCK * PER_TOKEN)
        began = time.perf_counter()
        store.put(records)
        wrote = time.perf_counter() - began
        found = store.lookup(ROOT, tokens)
        size = sum(record.size for record in records)
        read = milliseconds(lambda found=found: store.read(found), 5)  # type: ignore[misc]
        look = milliseconds(lambda tokens=tokens: store.lookup(ROOT, tokens))  # type: ignore[misc]
        print(
            f"{length:>5} tokens, {size / 1e6:4.0f} MB: written in {1000 * wrote:5.0f} ms, "
            f"looked up in {look:4.2f} ms, read and checked in {read:5.1f} ms ({size / 1e6 / read:.1f} GB/s)"
        )
    store.close()


def many_records(directory: Path) -> None:
    store = Store(directory / "many", budget=1 << 40)
    conversations, length = 60, 8192
    system = text(1024, 1)
    began = time.perf_counter()
    for seed in range(conversations):
        store.put(rows_of(system + text(length, 10 + seed), size=16))
    count = 4 + conversations * length // BLOCK
    print(f"{count} small records: {1e3 * (time.perf_counter() - began) / count:.1f} ms each to write")
    tokens = system + text(length, 30)
    print(f"look-up of {len(tokens)} tokens among them: {milliseconds(lambda: store.lookup(ROOT, tokens)):.2f} ms")
    found = store.lookup(ROOT, tokens)
    print(f"note of its use: {milliseconds(lambda: store.used(found, found.n, ANN)):.2f} ms")
    print(f"names of its blocks: {milliseconds(lambda: chain(ROOT, tokens)):.2f} ms")
    print(f"sweep: {milliseconds(store.sweep, 3):.0f} ms")
    store.close()
    for path in (directory / "many").glob("index-*"):
        path.unlink()
    again = Store(directory / "many", budget=1 << 40)
    began = time.perf_counter()
    again.lookup(ROOT, tokens)
    again.tier.index.wait(60)
    print(f"index made again: {time.perf_counter() - began:.2f} s")
    again.close()


def main(parent: str | None = None) -> None:
    directory = Path(tempfile.mkdtemp(dir=parent))
    try:
        hashes()
        real_blocks(directory)
        many_records(directory)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main(*sys.argv[1:2])
