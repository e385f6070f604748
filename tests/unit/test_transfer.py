"""Rate and remaining time of a transfer."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.transfer import WINDOW, Meter

STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 10**9)), max_size=60)


@given(total=st.integers(0, 10**12), start=st.integers(0, 10**9), steps=STEPS)
def test_what_is_told_is_never_absurd(total: int, start: int, steps: list[tuple[float, int]]) -> None:
    now = 100.0
    meter = Meter(total, start, now)
    for seconds, count in steps:
        now += seconds
        meter.add(count, now)
        rate, left = meter.rate(now), meter.seconds_left(now)
        assert rate is None or rate >= 0
        assert left is None or left >= 0
        if meter.done >= total:
            assert left in (None, 0)
    assert meter.done == start + sum(count for _, count in steps)


@given(rate=st.integers(1000, 10**8), seconds=st.integers(2, 60))
def test_a_steady_rate_is_told(rate: int, seconds: int) -> None:
    meter = Meter(rate * 1000, 0, 0.0)
    for tenth in range(1, seconds * 10 + 1):
        meter.add(rate // 10, tenth / 10)
    assert abs((meter.rate(seconds) or 0) - rate // 10 * 10) <= rate * 0.02
    left = meter.seconds_left(seconds)
    assert left is not None
    assert abs(left - (1000 - seconds)) <= 25


def test_bytes_that_were_there_are_not_fast() -> None:
    meter = Meter(2000, 1000, 0.0)
    assert meter.rate(0.1) is None
    meter.add(100, 1.0)
    assert meter.rate(1.0) == 100


def test_a_stall_shows_within_the_window() -> None:
    meter = Meter(10**9, 0, 0.0)
    for second in range(1, 30):
        meter.add(1000, float(second))
    rates = [meter.rate(29 + waited) or 0 for waited in range(0, 30, 5)]
    assert all(later < earlier for earlier, later in pairwise(rates))
    meter.add(0, 29 + 2 * WINDOW)
    meter.add(0, 29 + 4 * WINDOW)
    assert meter.rate(29 + 4 * WINDOW) == 0
    assert meter.seconds_left(29 + 4 * WINDOW) is None


def test_thrown_away_bytes_give_no_negative_rate() -> None:
    meter = Meter(1000, 0, 0.0)
    meter.add(600, 1.0)
    meter.add(-600, 2.0)
    meter.add(100, 3.0)
    assert meter.done == 100
    assert meter.rate(3.0) == 100
