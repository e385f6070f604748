"""The exact window and the cutting of prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.driving import CONTEXT, SLOTS, Shape, choose, kv_bytes
from fireside_engine.core.window import (
    SHORTEST_TAIL,
    TILE,
    UNLIMITED,
    Probe,
    decode_width,
    last_cut,
    next_cut,
    reusable,
)

SIZES = (2, 3, 4, 5, 6, 8, 12, 16)
lengths = st.integers(1, 5000)


def probe(exact_up_to: int, *, prefill: bool = False, cost: float = 0.8) -> Probe:
    """A machine where a batch of n takes n * cost steps."""
    seconds = {1: 1.0} | {size: size * cost for size in SIZES}
    return Probe({size: size <= exact_up_to for size in SIZES}, seconds, prefill)


def test_the_window_is_the_longest_unbroken_run() -> None:
    assert probe(3).window == 3
    assert probe(1).window == 1
    assert probe(16).window == 16
    assert probe(16, prefill=True).window == UNLIMITED
    assert Probe({2: True, 3: False, 4: True}, {1: 1.0}, False).window == 2


def test_deterministic_never_leaves_the_window() -> None:
    assert decode_width(probe(3), 4, deterministic=True) == 3
    assert decode_width(probe(1), 4, deterministic=True) == 1
    assert decode_width(probe(16, prefill=True), 4, deterministic=True) == 4


def test_the_window_is_kept_where_it_is_cheap_and_left_where_it_is_not() -> None:
    cheap = Probe({2: True, 3: True, 4: False}, {1: 1.0, 2: 1.8, 3: 2.5, 4: 3.0}, False)
    assert decode_width(cheap, 4, deterministic=False) == 3
    gpu = Probe({2: False, 3: False, 4: False}, {1: 1.0, 2: 1.0, 3: 1.1, 4: 1.1}, False)
    assert decode_width(gpu, 4, deterministic=False) == 4


@given(lengths, st.integers(1, 700))
def test_pieces_cover_a_prompt_in_cuts_that_depend_on_its_length_alone(n: int, budget: int) -> None:
    ends, start = [], 0
    while start < n:
        end = next_cut(start, n, budget)
        assert start < end <= n
        ends.append(end)
        start = end
    assert all(end % TILE == 0 for end in ends[:-1])
    assert ([0, *ends])[-2] == last_cut(n)
    assert n - last_cut(n) < TILE + SHORTEST_TAIL
    assert n < TILE or n - last_cut(n) >= SHORTEST_TAIL


@given(st.integers(0, 3000), st.integers(0, 3000), lengths, st.booleans())
def test_what_is_reused_is_common_and_leaves_a_token_to_compute(
    common: int, prefilled: int, n: int, generated: bool
) -> None:
    common = min(common, n)
    keep = reusable(common, prefilled, n, generated=generated)
    assert 0 <= keep <= min(common, n - 1)
    if not generated:
        assert keep <= prefilled
        assert keep % TILE == 0
    if generated and common > prefilled:
        assert keep == min(common, n - 1)


@given(
    st.integers(1, 100),
    st.integers(64, 8192),
    st.integers(256, 200_000),
    st.integers(0, 1 << 37),
    st.integers(0, 1 << 36),
    st.booleans(),
)
def test_more_memory_never_means_less(
    n_layer: int, width: int, n_ctx_train: int, free: int, more: int, deterministic: bool
) -> None:
    shape = Shape(n_layer, width, n_ctx_train)
    small, large = (
        choose(shape, free, deterministic=deterministic),
        choose(shape, free + more, deterministic=deterministic),
    )
    assert large.n_slots >= small.n_slots
    assert large.n_ctx >= small.n_ctx
    assert large.n_ctx <= max(256, -(-min(CONTEXT, n_ctx_train) // 256) * 256)
    assert large.n_slots <= SLOTS
    if large.n_slots > 1:
        assert large.n_slots * kv_bytes(shape, large.n_ctx, large.type_k, large.type_v) <= (free + more) // 4


def test_what_is_asked_for_is_taken() -> None:
    chosen = choose(Shape(28, 256, 32768), 1 << 20, n_ctx=4096, n_slots=2, kv_type="q8_0")
    assert (chosen.n_ctx, chosen.n_slots, chosen.type_k, chosen.type_v) == (4096, 2, "q8_0", "q8_0")
