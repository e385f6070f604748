"""Files and directories that are not as they were left: every doubt is a miss, and nothing raises."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import record as records
from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.health import PAUSE
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.record import HEADER_BYTES, Doubt, Kind, Record
from fireside_engine.kv_cache.store import Store
from kv_faults import (
    ANN,
    FULL,
    OTHER_ROOT,
    PAYLOAD,
    READ_ONLY,
    ROOT,
    Clock,
    FaultyDisk,
    always,
    check,
    files,
    put,
    restored,
    rows_of,
    state_of,
    temporary_files,
    text,
)

# --- one file


def test_a_header_survives_the_way_to_the_disk_and_back() -> None:
    owner = Owner("t" * 128, "é" * 256)
    record = Record(Kind.ROWS, ROOT, ROOT, 0, (1, -1, 2**31 - 1), b"payload", owner, 2, "ü" * 200)
    header = records.header_of(record)
    data = records.encode(header)
    assert len(data) == HEADER_BYTES
    back = records.decode(data)
    assert back.owner == owner
    assert back.label == "ü" * 128
    assert (back.key, back.ids, back.n_prefilled) == (record.key, header.ids, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": ()},
        {"tokens": tuple(range(BLOCK + 1))},
        {"start": 17},
        {"n_prefilled": 4},
        {"parent": b"short"},
        {"start": BLOCK},
    ],
)
def test_a_record_that_is_no_block_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {
        "kind": Kind.ROWS, "root": ROOT, "parent": ROOT, "start": 0, "tokens": (1, 2, 3), "payload": b"", "owner": ANN,
    }  # fmt: skip
    Record(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Record(**(good | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("owner", [Owner("t" * 129), Owner("t", "é" * 257)])
def test_names_that_do_not_fit_the_header_are_refused(owner: Owner) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Record(Kind.ROWS, ROOT, ROOT, 0, (1,), b"", owner)


def test_no_single_bit_of_a_header_can_change_unnoticed() -> None:
    data = records.encode(records.header_of(rows_of(text(20))[0]))
    rng = random.Random(1)
    for bit in rng.sample(range(HEADER_BYTES * 8), 1500):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Doubt):
            records.decode(bytes(changed))


def flip(rng: random.Random, path: Path, _others: dict[Path, bytes]) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 30))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(rng: random.Random, path: Path, _others: dict[Path, bytes]) -> None:
    os.truncate(path, rng.choice((0, rng.randrange(HEADER_BYTES), rng.randrange(HEADER_BYTES, HEADER_BYTES + PAYLOAD))))


def lengthen(rng: random.Random, path: Path, _others: dict[Path, bytes]) -> None:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.choice((1, 4096))))


def swap(rng: random.Random, path: Path, others: dict[Path, bytes]) -> None:
    path.write_bytes(others[rng.choice([other for other in others if other != path])])


def swap_payload(rng: random.Random, path: Path, others: dict[Path, bytes]) -> None:
    other = rng.choice([other for other in others if other != path])
    path.write_bytes(others[path][:HEADER_BYTES] + others[other][HEADER_BYTES:])


def noise(rng: random.Random, path: Path, _others: dict[Path, bytes]) -> None:
    path.write_bytes(rng.randbytes(HEADER_BYTES + PAYLOAD))


def replace_by_something_else(rng: random.Random, path: Path, _others: dict[Path, bytes]) -> None:
    path.unlink()
    if rng.random() < 0.5:
        path.mkdir()
        (path / "inside").write_bytes(b"x")
    else:
        path.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", "nowhere")))


MUTATIONS: list[Callable[[random.Random, Path, dict[Path, bytes]], None]] = [
    flip, flip, flip, cut, lengthen, swap, swap_payload, noise, replace_by_something_else,
]  # fmt: skip


def test_of_two_thousand_mutated_files_none_is_accepted(tmp_path: Path) -> None:
    """Rows and checkpoints of two tenants with equal tokens, so that a swapped file is as alike as can be."""
    rng = random.Random(7)
    store = Store(tmp_path / "kv", budget=1 << 30)
    prompts = [(root, text(BLOCK * 2 + 90, seed)) for seed in range(5) for root in (ROOT, OTHER_ROOT)]
    for root, tokens in prompts:
        store.put([*rows_of(tokens, root=root), state_of(tokens, root=root)])
    there = files(tmp_path / "kv")
    contents = {path: path.read_bytes() for path in there}
    done = 0
    while done < 2000:
        for path in rng.sample(there, rng.choice((1, 10, 35))):
            rng.choice(MUTATIONS)(rng, path, contents)
        changed = {
            path for path in there if path.is_symlink() or not path.is_file() or path.read_bytes() != contents[path]
        }
        done += len(changed)
        for root, tokens in prompts:
            end = restored(store, tokens, root=root)
            for record in rows_of(tokens, root=root):
                assert end <= record.start or store.tier.layout.file(Kind.ROWS, record.key) not in changed
        # What was met is gone; the rest goes with verify, and what was good before is good still.
        upkeep.verify(store)
        assert set(files(tmp_path / "kv")) == set(there) - changed
        for path, data in contents.items():
            assert path in changed or path.read_bytes() == data
            path.write_bytes(data)
        store.sweep()
        assert upkeep.summary(store).records == len(there)


def test_a_bad_block_leaves_those_before_it_usable_and_is_put_again(store: Store, tmp_path: Path) -> None:
    tokens = text(1000)
    put(store, tokens)
    second = store.tier.layout.file(Kind.ROWS, rows_of(tokens)[1].key)
    second.write_bytes(b"x" * 5000)
    assert restored(store, tokens) == BLOCK
    assert not second.exists()
    assert put(store, tokens) == 1
    assert restored(store, tokens) == 1000
    assert upkeep.summary(store).counts["removed_doubtful"] == 1


def test_a_block_that_vanished_is_a_miss(store: Store) -> None:
    put(store, text(300))
    found = store.lookup(ROOT, text(300))
    store.tier.layout.file(Kind.ROWS, found.pieces[0].key).unlink()
    assert store.read(found).rows == ()
    assert store.lookup(ROOT, text(300)).n == 0


# --- the index


def index_file(directory: Path) -> Path:
    (path,) = directory.glob("index-*.sqlite")
    return path


def delete(path: Path) -> None:
    path.unlink()


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(3).randbytes(path.stat().st_size))


def overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(3).randbytes(path.stat().st_size - 4096))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_another_database(path: Path) -> None:
    import sqlite3

    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE meta (name, value)")
    db.close()


def replace_by_an_older_copy(path: Path) -> None:
    """Rows of files that are gone, none of those that came since."""
    path.unlink()
    shutil.copy(path.parent / "older", path)


@pytest.mark.parametrize(
    "harm",
    [delete, overwrite, overwrite_the_middle, empty, replace_by_another_database, replace_by_an_older_copy],
)
@pytest.mark.parametrize("open_before", [True, False])
def test_a_broken_index_is_made_again_from_the_files(
    tmp_path: Path, store: Store, harm: Callable[[Path], None], open_before: bool
) -> None:
    directory = tmp_path / "kv"
    put(store, text(300, 9))
    shutil.copy(index_file(directory), directory / "older")
    tokens = text(1000)
    put(store, tokens, n_prefilled=900)
    store.put([state_of(tokens)])
    store.forget(Owner("local", "nobody"))
    if not open_before:
        store.close()
        store = Store(directory, budget=1 << 30)
    harm(index_file(directory))
    for _ in range(4):
        # Answers go on: a question is answered at once, with a miss or with what is right.
        restored(store, tokens)
        assert store.tier.index.wait(10)
    store.sweep()
    assert restored(store, tokens) == 1000
    found = store.lookup(ROOT, tokens)
    assert found.prefilled == 900
    assert [state.position for state in found.states] == [1000]
    assert put(store, text(1000, 2)) == 4
    assert restored(store, text(1000, 2)) == 1000
    assert {usage.owner for usage in upkeep.summary(store).conversations} == {ANN}
    assert len(list(directory.glob("index-*"))) <= 2
    store.close()


def test_a_write_waits_for_the_new_index(store: Store, tmp_path: Path) -> None:
    put(store, text(300))
    index_file(tmp_path / "kv").unlink()
    assert put(store, text(300, 1)) == 2
    assert restored(store, text(300)) == 300


def test_an_index_that_cannot_be_made_turns_the_tier_off_for_a_while(
    store: Store, disk: FaultyDisk, clock: Clock, tmp_path: Path
) -> None:
    put(store, text(300))
    index_file(tmp_path / "kv").unlink()
    disk.plan = READ_ONLY
    for _ in range(2):
        assert restored(store, text(300)) == 0
        assert store.tier.index.wait(10)
    assert not store.tier.reading.on
    disk.plan = None
    clock.now += PAUSE
    for _ in range(2):
        restored(store, text(300))
        assert store.tier.index.wait(10)
    assert restored(store, text(300)) == 300


def test_an_index_that_breaks_again_and_again_is_not_made_forever(store: Store, clock: Clock, tmp_path: Path) -> None:
    for _ in range(20):
        restored(store, text(300))
        assert store.tier.index.wait(10)
        for path in (tmp_path / "kv").glob("index-*.sqlite"):
            path.write_bytes(b"noise" * 1000)
    names = list((tmp_path / "kv").glob("index-*.sqlite"))
    assert names[0].name < "index-000008"
    clock.now += PAUSE
    for _ in range(2):
        put(store, text(300))
    assert restored(store, text(300)) == 300


def test_an_old_index_that_cannot_be_removed_is_not_used_on(
    store: Store, disk: FaultyDisk, clock: Clock, tmp_path: Path
) -> None:
    """A new one beside the broken old one left every process that had the old one open with it, for good."""
    put(store, text(300))
    other = Store(tmp_path / "kv", budget=1 << 30)
    assert restored(other, text(300)) == 300
    old = index_file(tmp_path / "kv")
    old.write_bytes(b"noise" * 5000)
    disk.plan = lambda operation, path: always(errno.EIO)(operation, path) if path == old else None
    restored(store, text(300))
    assert store.tier.index.wait(10)
    restored(other, text(300))
    assert other.tier.index.wait(10)
    assert restored(other, text(300)) == 300
    disk.plan = None
    clock.now += PAUSE
    restored(store, text(300))
    assert store.tier.index.wait(10)
    assert restored(store, text(300)) == 300
    other.close()


def test_two_stores_of_one_directory_follow_each_other(tmp_path: Path) -> None:
    first, second = (Store(tmp_path / "kv", budget=1 << 30) for _ in range(2))
    put(first, text(600))
    assert restored(second, text(600)) == 600
    index_file(tmp_path / "kv").write_bytes(b"noise" * 5000)
    for store in (first, second, first, second):
        restored(store, text(600))
        assert store.tier.index.wait(10)
    put(second, text(600, 2))
    for store in (first, second):
        assert restored(store, text(600)) == restored(store, text(600, 2)) == 600
        store.close()


# --- the disk


@pytest.mark.parametrize("plan", [FULL, READ_ONLY, always(errno.EIO, "write"), always(errno.EDQUOT, "open")])
def test_a_disk_that_takes_nothing_turns_writing_off_for_a_while(
    store: Store, disk: FaultyDisk, clock: Clock, caplog: pytest.LogCaptureFixture, plan: Callable[[str, Path], None]
) -> None:
    put(store, text(300))
    disk.plan = plan
    with caplog.at_level(logging.WARNING):
        assert put(store, text(300, 1)) == 0
        before = disk.operations
        assert put(store, text(300, 2)) == 0
        assert disk.operations == before
        clock.now += PAUSE
        assert put(store, text(300, 3)) == 0
    assert [record.message for record in caplog.records if "off" in record.message] == [caplog.records[0].message], (
        "one warning"
    )
    disk.plan = None
    assert put(store, text(300, 4)) == 0
    clock.now += PAUSE
    assert put(store, text(300, 4)) == 2
    assert restored(store, text(300)) == restored(store, text(300, 4)) == 300
    assert temporary_files(store.tier.layout.directory) == []
    counts = upkeep.summary(store).counts
    assert counts["disk_errors"] == 2
    assert counts["dropped_off"] >= 3


def test_reading_goes_on_while_writing_is_off(store: Store, disk: FaultyDisk) -> None:
    put(store, text(300))
    disk.plan = READ_ONLY
    put(store, text(300, 1))
    assert not store.tier.writing.on
    assert restored(store, text(300)) == 300
    store.used(store.lookup(ROOT, text(300)), 300, ANN)


def test_a_bad_block_on_a_disk_that_cannot_be_written_is_asked_for_once(store: Store, disk: FaultyDisk) -> None:
    tokens = text(600)
    put(store, tokens)
    path = store.tier.layout.file(Kind.ROWS, rows_of(tokens)[1].key)
    path.write_bytes(b"x" * 5000)
    disk.plan = READ_ONLY
    assert restored(store, tokens) == BLOCK
    before = disk.operations
    assert store.lookup(ROOT, tokens).n == BLOCK
    assert disk.operations == before


def test_a_disk_that_cannot_be_read_turns_reading_off_for_a_while(store: Store, disk: FaultyDisk, clock: Clock) -> None:
    put(store, text(600))
    put(store, text(600, 1))
    disk.plan = always(errno.EIO, "read")
    assert restored(store, text(600)) == 0
    assert store.lookup(ROOT, text(600, 1)).n == 0
    disk.plan = None
    clock.now += PAUSE
    assert restored(store, text(600, 1)) == 600


def test_an_sqlite_that_is_full_turns_writing_off(store: Store) -> None:
    """The disk filled up under the index, not under a block."""
    put(store, text(300))
    with store.tier.index.writing() as db:
        db.execute("PRAGMA max_page_count = 1")
    for seed in range(1, 40):
        put(store, text(600, seed), size=1)
    assert not store.tier.writing.on
    assert restored(store, text(300)) == 300


def test_a_directory_that_was_deleted_is_made_anew(store: Store, tmp_path: Path) -> None:
    tokens = text(600)
    put(store, tokens)
    found = store.lookup(ROOT, tokens)
    shutil.rmtree(tmp_path / "kv")
    assert check(store, found, tokens) == 0
    assert put(store, tokens) in (0, 3)
    assert store.tier.index.wait(10)
    put(store, tokens)
    assert restored(store, tokens) == 600


def test_deleting_parts_of_the_directory_costs_no_more_than_misses(store: Store, tmp_path: Path) -> None:
    tokens = text(600)
    for part in ("blocks", "tmp"):
        put(store, tokens)
        shutil.rmtree(tmp_path / "kv" / part)
        assert restored(store, tokens) in (0, 600)
        put(store, tokens)
        put(store, tokens)
        assert restored(store, tokens) == 600


def test_a_conversation_that_cannot_be_deleted_says_so(store: Store, disk: FaultyDisk) -> None:
    """`forget` is a promise: it is not kept silently half."""
    put(store, text(600))
    disk.plan = READ_ONLY
    with pytest.raises(OSError):
        store.forget(ANN)
    disk.plan = None
    assert store.forget(ANN).records == 3


def test_files_of_dead_processes_are_swept_and_those_of_living_ones_are_not(store: Store, tmp_path: Path) -> None:
    put(store, text(300))
    dead = Store(tmp_path / "kv", budget=1 << 30)
    left = dead.tier.temporary.new()
    left.write_bytes(b"x" * 100)
    mine = store.tier.temporary.new()
    mine.write_bytes(b"y")
    assert store.sweep() == 0
    dead.tier.temporary.abandon()
    (tmp_path / "kv" / "tmp" / "nobodys").mkdir()
    (tmp_path / "kv" / "tmp" / "nobodys" / "file").write_bytes(b"z" * 10)
    assert store.sweep() == 110
    assert temporary_files(tmp_path / "kv") == [mine]


def test_files_without_a_row_are_adopted_or_removed(store: Store, tmp_path: Path) -> None:
    tokens = text(600)
    put(store, tokens)
    with store.tier.index.writing() as db:
        db.execute("DELETE FROM records WHERE start = 256")
    (tmp_path / "kv" / "blocks" / "stranger").mkdir()
    (tmp_path / "kv" / "blocks" / "stranger" / "note.txt").write_bytes(b"12345")
    assert restored(store, tokens) == BLOCK
    assert store.sweep() == 5
    assert restored(store, tokens) == 600
    assert store.sweep() == 0


def test_a_closed_store_answers_with_misses(tmp_path: Path) -> None:
    store = Store(tmp_path / "kv", budget=1 << 30)
    put(store, text(300))
    store.close()
    assert store.lookup(ROOT, text(300)).n == 0
    assert put(store, text(300, 1)) == 0
    with pytest.raises(Unavailable):
        store.forget(ANN)
    assert len(files(tmp_path / "kv")) == 2
