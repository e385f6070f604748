"""What a model that is not here would take, and which one is proposed first."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.machine import GIB, Machine, Pool
from fireside_engine.core.outlook import FIRST_SIZE, Download, outlook, propose
from fireside_engine.core.speed import Book

BOOK = Book(bandwidth={"host": 20e9})


def machine(free: int, gpu: int = 0) -> Machine:
    gpus = (Pool("CUDA0", "gpu", gpu, gpu, 0),) if gpu else ()
    return Machine(Pool("host", "host", free, free, 0), gpus, 4)


def proposed(free: int, downloads: list[Download], gpu: int = 0) -> tuple[str, ...]:
    return propose([(one, outlook(one, machine(free, gpu), BOOK)) for one in downloads])


DOWNLOADS = [
    Download("huge", 60_000_000_000, "Q4_K_M"),
    Download("experts", 20_000_000_000, "Q4_K_M", 0.05),
    Download("nine", 5_500_000_000, "Q4_K_M"),
    Download("doubtful", 1_000_000_000, "Q4_K_M", offered=False),
    Download("four", 2_400_000_000, "Q4_K_M", 0.5),
    Download("two", 1_200_000_000, "Q4_K_M"),
    Download("tiny", 300_000_000, "Q8_0"),
]


def test_the_first_is_small_and_the_others_are_larger_and_fast_enough() -> None:
    assert proposed(64 * GIB, DOWNLOADS) == ("two", "four", "experts")
    assert proposed(8 * GIB, DOWNLOADS) == ("two", "four")


def test_a_machine_with_little_memory_gets_what_fits_or_nothing() -> None:
    assert proposed(2 * GIB, DOWNLOADS) == ("tiny",)
    assert proposed(GIB, DOWNLOADS) == ()


def test_a_graphics_card_that_holds_it_makes_it_fast() -> None:
    slow, fast = (outlook(DOWNLOADS[2], machine(16 * GIB, gpu), BOOK) for gpu in (0, 12 * GIB))
    assert slow.fits and fast.fits
    assert fast.tokens_per_second > 5 * slow.tokens_per_second


def test_where_nothing_is_fast_the_fastest_is_proposed() -> None:
    slow = replace(DOWNLOADS[2], name="slow", size=11_000_000_000)
    assert proposed(32 * GIB, [slow, replace(slow, name="slower", size=12_000_000_000)]) == ("slow",)


@given(
    st.lists(st.tuples(st.integers(50_000_000, 80_000_000_000), st.floats(0.02, 1), st.booleans()), max_size=12),
    st.integers(1, 128),
)
def test_whatever_is_proposed_fits_and_may_be_offered(rows: list[tuple[int, float, bool]], gib: int) -> None:
    downloads = [Download(str(at), size, "Q4_K_M", share, offered) for at, (size, share, offered) in enumerate(rows)]
    names = proposed(gib * GIB, downloads)
    by_name = {one.name: one for one in downloads}
    assert len(set(names)) == len(names) <= 3
    for name in names:
        assert by_name[name].offered
        assert outlook(by_name[name], machine(gib * GIB), BOOK).fits
    if len(names) > 1:
        assert by_name[names[0]].size <= FIRST_SIZE
        assert all(by_name[name].size > by_name[names[0]].size for name in names[1:])
