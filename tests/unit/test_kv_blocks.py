"""Names of blocks say what every token before was."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core import cache_budget
from fireside_engine.core.blocks import (
    BLOCK,
    block_key,
    chain,
    common,
    last_block,
    pack,
    prefix_key,
    root_key,
    unpack,
)

ROOT = root_key({"model": "a"})
IDS = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(IDS, max_size=20))
def test_packing_is_reversible(tokens: list[int]) -> None:
    assert unpack(pack(tokens)) == tuple(tokens)


def test_an_id_beyond_32_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        pack([2**31])


@given(st.lists(IDS, max_size=3), st.lists(IDS, max_size=3))
def test_names_are_equal_where_tokens_are(first: list[int], second: list[int]) -> None:
    assert (block_key(ROOT, first) == block_key(ROOT, second)) == (first == second)


def test_a_chain_names_full_blocks_only_and_each_name_depends_on_every_token_before() -> None:
    tokens = list(range(3 * BLOCK + 5))
    names = chain(ROOT, tokens)
    assert len(names) == 3
    assert names[2] == block_key(names[1], tokens[2 * BLOCK : 3 * BLOCK])
    for position in (0, BLOCK - 1, BLOCK, 3 * BLOCK - 1):
        changed = [*tokens]
        changed[position] += 1
        block = position // BLOCK
        other = chain(ROOT, changed)
        assert other[:block] == names[:block]
        assert not set(other[block:]) & set(names[block:])


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7])
def test_the_record_of_a_prefix_hangs_on_the_full_blocks_before_it(length: int) -> None:
    tokens = list(range(length))
    start = last_block(length)
    before = chain(ROOT, tokens[:start])
    assert prefix_key(ROOT, tokens) == block_key(before[-1] if before else ROOT, tokens[start:])
    if length % BLOCK == 0:
        assert prefix_key(ROOT, tokens) == chain(ROOT, tokens)[-1]


PARTS = st.dictionaries(
    st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.binary(max_size=3)), max_size=4
)


@given(PARTS, PARTS)
def test_roots_are_equal_where_all_parts_are(first: dict[str, object], second: dict[str, object]) -> None:
    same = list(map(_typed, sorted(first.items()))) == list(map(_typed, sorted(second.items())))
    assert (root_key(first) == root_key(second)) == same  # type: ignore[arg-type]


def _typed(item: tuple[str, object]) -> tuple[str, str, object]:
    return item[0], type(item[1]).__name__, item[1]


def test_the_order_of_parts_does_not_matter_and_their_types_and_borders_do() -> None:
    parts = {"a": 1, "b": True, "c": "1", "d": b"1"}
    names = {root_key(dict(order)) for order in itertools.permutations(parts.items())}
    assert len(names) == 1
    variants = [{"a": 1}, {"a": True}, {"a": "1"}, {"a": b"1"}, {"a1": ""}, {"a": "", "1": ""}, {}]
    assert len({root_key(variant) for variant in variants}) == len(variants)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_common_counts_leading_tokens(first: list[int], second: list[int]) -> None:
    expected = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        expected += 1
    assert common(pack(first), pack(second)) == expected


@given(st.integers(0, 2**44), st.integers(0, 2**44), st.integers(1, 2**44))
def test_the_cache_never_takes_what_is_kept_free(free: int, held: int, size: int) -> None:
    budget = cache_budget.default_budget(free, held)
    assert budget <= cache_budget.LARGEST_DEFAULT
    assert budget * 10 <= free + held
    kept = cache_budget.reserve(size)
    limit = cache_budget.limit(budget, held, free, kept)
    assert 0 <= limit <= budget
    # Growing to the limit leaves the reserve.
    assert limit <= held or free - (limit - held) >= kept
