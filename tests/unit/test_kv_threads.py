"""The writer and the reader: nobody who computes waits for a disk, not even for one that hangs."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path

import pytest

from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.reader import Reader
from fireside_engine.kv_cache.record import HEADER_BYTES
from fireside_engine.kv_cache.store import Store
from fireside_engine.kv_cache.writer import SLOW, Writer
from kv_faults import ANN, BOB, PAYLOAD, ROOT, Clock, FaultyDisk, put, restored, rows_of, state_of, text

SIZE = HEADER_BYTES + PAYLOAD


class Hang:
    """A disk operation that does not return until it is let go."""

    def __init__(self, *operations: str) -> None:
        self.operations = operations
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, operation: str, path: Path) -> None:
        if operation in self.operations:
            self.reached.set()
            self.let_go.wait(30)


def test_what_is_submitted_is_there_after_a_flush(store: Store) -> None:
    writer = Writer(store)
    tokens = text(700)
    assert writer.submit([*rows_of(tokens), state_of(tokens)]) == 4
    writer.remember(ROOT, b"digest", [1, 2], ANN)
    assert writer.flush(10)
    assert restored(store, tokens) == 700
    assert store.recall(ROOT, [b"digest"]) == {b"digest": (1, 2)}
    writer.used(store.lookup(ROOT, tokens), 700, BOB)
    assert writer.flush(10)
    assert {usage.owner for usage in upkeep.summary(store).conversations} == {ANN, BOB}
    assert writer.close()


def test_the_queue_is_bounded_in_bytes_and_what_hangs_on_the_dropped_is_dropped(store: Store, disk: FaultyDisk) -> None:
    put(store, text(10))
    hang = disk.plan = Hang("write")
    writer = Writer(store, limit=3 * SIZE, sweep=False)
    assert writer.submit(rows_of(text(2000))) == 3
    assert hang.reached.wait(10)
    assert writer.submit(rows_of(text(100, 1))) == 0
    assert not writer.flush(0.01)
    hang.let_go.set()
    assert writer.flush(10)
    assert restored(store, text(2000)) == 3 * 256
    assert upkeep.summary(store).counts["dropped"] == 2
    assert writer.submit(rows_of(text(100, 1))) == 1
    assert writer.close()


def test_a_disk_that_hangs_is_given_nothing_more(
    store: Store, disk: FaultyDisk, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, text(10))
    hang = disk.plan = Hang("write")
    writer = Writer(store, sweep=False, clock=clock)
    writer.submit(rows_of(text(100)))
    assert hang.reached.wait(10)
    assert writer.submit(rows_of(text(100, 1))) == 1
    clock.now += SLOW + 1
    with caplog.at_level(logging.WARNING):
        assert writer.submit(rows_of(text(100, 2))) == 0
        assert writer.submit(rows_of(text(100, 3))) == 0
    assert len(caplog.records) == 1
    assert not writer.close(timeout=0.01)
    hang.let_go.set()


def test_a_forgotten_conversation_is_not_written_afterwards(store: Store, disk: FaultyDisk) -> None:
    put(store, text(10))
    hang = disk.plan = Hang("write")
    writer = Writer(store, sweep=False)
    writer.submit(rows_of(text(600, 1), owner=ANN))
    writer.submit(rows_of(text(600, 2), owner=BOB))
    assert hang.reached.wait(10)
    writer.forget(ANN)
    hang.let_go.set()
    assert writer.flush(10)
    assert restored(store, text(600, 1)) == 0
    assert restored(store, text(600, 2)) == 600
    assert writer.close()


def test_the_writer_survives_its_own_defects(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(store, sweep=False)
    with monkeypatch.context() as patch:
        patch.setattr(store, "remember", lambda *_: 1 / 0)
        writer.remember(ROOT, b"digest", [1], ANN)
        assert writer.flush(10)
    writer.submit(rows_of(text(100)))
    assert writer.close()
    assert restored(store, text(100)) == 100


def test_a_reader_finds_and_fetches(store: Store) -> None:
    tokens = text(700)
    store.put([*rows_of(tokens), state_of(tokens)])
    reader = Reader(store)
    assert reader.bytes_per_second is None
    found = reader.find(ROOT, tokens).result(10)
    fetched = reader.fetch(found, states=found.states).result(10)
    assert [bytes(row) for row in fetched.rows] == [record.payload for record in rows_of(tokens)]
    assert fetched.states[0] is not None
    assert reader.fetch(found, pieces=1).result(10).rows == fetched.rows[:1]
    assert reader.bytes_per_second is not None
    assert reader.bytes_per_second > 0
    reader.close()
    assert reader.find(ROOT, tokens).result(10).n == 0


def test_a_disk_that_hangs_costs_the_deadline_once_and_the_rows_before_it_are_kept(
    store: Store, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = text(1000)
    store.put([*rows_of(tokens), state_of(tokens)])
    found = store.lookup(ROOT, tokens)
    third = store.tier.layout.file(0, found.pieces[2].key)
    hang = Hang("open")
    disk.plan = lambda operation, path: hang(operation, path) if path == third else None
    reader = Reader(store, threads=1, deadline=0.1)
    with caplog.at_level(logging.WARNING):
        fetched = reader.fetch(found, states=found.states).result(10)
    assert len(fetched.rows) == 2
    assert fetched.states == (None,)
    assert len(caplog.records) == 1
    # The tier is off now: nobody waits, and the thread that hangs is replaced.
    assert reader.fetch(found).result(10).rows == ()
    store.tier.reading.worked()
    fourth = reader.find(ROOT, tokens).result(10)
    assert fourth.n == 1000
    hang.let_go.set()
    reader.close()


def test_with_too_many_hung_threads_nobody_waits(
    store: Store, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fireside_engine.kv_cache.reader.MOST_LEFT_BEHIND", 1)
    tokens = text(300)
    put(store, tokens)
    found = store.lookup(ROOT, tokens)
    hang = disk.plan = Hang("open")
    reader = Reader(store, threads=1, deadline=0.1)
    first, second = reader.fetch(found), reader.fetch(found)
    assert first.result(10).rows == second.result(10).rows == ()
    store.tier.reading.worked()
    assert reader.fetch(found).result(0).rows == ()
    # The thread comes back, and with it the tier.
    hang.let_go.set()
    for _ in range(1000):
        if reader.fetch(found).result(10).rows:
            break
        threading.Event().wait(0.01)
    else:
        pytest.fail("the reader did not come back")
    reader.close()


def test_a_failing_disk_gives_misses_through_the_reader(store: Store, disk: FaultyDisk) -> None:
    tokens = text(300)
    put(store, tokens)
    found = store.lookup(ROOT, tokens)

    def plan(operation: str, path: Path) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "bad sector", str(path))

    disk.plan = plan
    reader = Reader(store)
    assert reader.fetch(found).result(10).rows == ()
    assert reader.find(ROOT, tokens).result(10).n == 0
    reader.close()
