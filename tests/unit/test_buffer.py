"""Memory that is used again: nothing is lost while it is in use, and it is given back."""

from __future__ import annotations

import mmap
import subprocess
import sys

import pytest

from fireside_engine.llama.buffer import Buffer


def test_growing_within_what_was_expected_keeps_what_is_there() -> None:
    buffer = Buffer()
    buffer.largest = 32 << 20
    buffer.of(1000)[:] = 7
    assert (buffer.of(20 << 20)[:1000] == 7).all()
    assert buffer.touched == 20 << 20


def test_more_than_was_expected_can_be_had() -> None:
    buffer = Buffer()
    for size in (10, 5 << 20, 100):
        data = buffer.of(size)
        assert len(data) == size
        data[:] = 1


def test_memory_that_is_given_back_lives_as_long_as_it_is_seen() -> None:
    buffer = Buffer()
    data = buffer.of(1 << 20)
    data[:] = 3
    buffer.release()
    assert buffer.touched == 0
    other = buffer.of(1 << 20)
    other[:] = 4
    assert (data == 3).all()


def test_where_the_largest_use_cannot_be_reserved_the_present_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mmap.mmap

    def limited(handle: int, size: int, **more: int) -> mmap.mmap:
        if size > 4 << 20:
            raise OSError(12, "Cannot allocate memory")
        return real(handle, size, **more)

    monkeypatch.setattr(mmap, "mmap", limited)
    buffer = Buffer()
    buffer.largest = 1 << 40
    assert len(buffer.of(3 << 20)) == 3 << 20
    with pytest.raises(MemoryError):
        buffer.of(5 << 20)
    assert len(buffer.of(1 << 20)) == 1 << 20


GROWING = """
from fireside_engine.llama.buffer import Buffer
import resource, threading
{limit}
buffer = Buffer()
buffer.largest = 3 << 30
buffer.of(1 << 20)[:] = 7
address = buffer.of(1 << 20).ctypes.data
again = buffer.of(64 << 20)
again[:] = 8
threads = [threading.Thread(target=lambda: None) for _ in range(8)]
for thread in threads:
    thread.start()
print(again.ctypes.data == address)
"""
LIMIT = "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit addresses")
@pytest.mark.parametrize(("limit", "in_place"), [("", "True"), (LIMIT, "False")])
def test_addresses_are_reserved_only_where_nobody_counts_them(limit: str, in_place: str) -> None:
    """Under `ulimit -v` the addresses of a state that might come once left none for threads."""
    code = GROWING.format(limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == in_place
