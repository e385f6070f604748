"""Fixtures of the KV store's tests: a store on a disk that fails when told to, in a time of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fireside_engine.kv_cache.store import Store
from kv_faults import Clock, FaultyDisk


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, disk: FaultyDisk, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "kv", budget=1 << 30, disk=disk, clock=clock)
    yield store
    disk.plan = None
    store.close()
