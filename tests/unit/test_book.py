"""What is learned of a machine, on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fireside_engine.core.quality import Quality
from fireside_engine.core.speed import Book, Rate
from fireside_engine.server.book_file import BookFile, Learned, Load, identity

MIB = 1024 * 1024


def load(surprise: int) -> Load:
    """A process that took `surprise` bytes more than foreseen; its buffers were as predicted."""
    return Load(1000 * MIB, 1000 * MIB + surprise, 800 * MIB, 800 * MIB)


def test_it_is_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    book = BookFile(path)
    book.keep_load("f", load(0), settled=False)
    book.keep_quality("f", Quality(0.02, True, 0.93))
    book.keep_origin("g", "f")
    book.change(lambda known: Learned(Book({"host": 3e10}, Rate(0.5, 3), {"Q8_0": Rate(1.1, 2)}), known.overhead,
                                      known.qualities, known.loads, known.made_from))  # fmt: skip
    book.change(lambda known: replace(known, book=known.book.drafted("f", 1.5)))
    assert BookFile(path).learned == book.learned
    assert BookFile(path).learned.made_from == {"g": "f"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"book": 1}', '{"book": {"bandwidth": {"host": "x"}}}'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(text)
    book = BookFile(path)
    assert book.learned == Learned()
    book.keep_origin("a", "b")
    assert BookFile(path).learned.made_from == {"a": "b"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.integers(-100, 900))
def test_surprises_of_processes_end_up_in_the_next_prediction(tmp_path: Path, surprise: int) -> None:
    book = BookFile(tmp_path / f"{surprise}.json")
    for _ in range(12):
        known = book.learned.overhead
        book.keep_load("f", load(surprise * MIB - known), settled=True)
    expected = max(-64, surprise)
    assert abs(book.learned.overhead / MIB - expected) < 2


def test_a_load_that_has_not_settled_teaches_nothing(tmp_path: Path) -> None:
    book = BookFile(tmp_path / "machine.json")
    book.keep_load("f", load(500 * MIB), settled=False)
    assert book.learned.overhead == 0
    assert book.learned.loads["f"].actual == 1500 * MIB


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    book = BookFile(tmp_path / "machine.json")
    book.change(lambda known: Learned(qualities={str(n): Quality(0.1) for n in range(600)}))
    assert len(book.learned.qualities) == 500
    book.keep_quality("100", Quality(0.2))
    assert list(book.learned.qualities)[-1] == "100"


def test_a_disk_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    if os.getuid() == 0:
        path = tmp_path / "file" / "machine.json"
        (tmp_path / "file").write_text("no folder")
    else:
        tmp_path.chmod(0o500)
        path = tmp_path / "machine.json"
    book = BookFile(path)
    book.keep_origin("a", "b")
    assert book.learned.made_from == {"a": "b"}


def test_a_file_that_changes_is_another(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert identity(path, 1, 2) != identity(path, 1, 3) != identity(path, 2, 3)
