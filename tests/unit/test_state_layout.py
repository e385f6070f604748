"""States written with a layout are found again with that layout; rows that are cut and moved stay what they were."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core import state_layout as layouts
from fireside_engine.core.state_layout import HEAD, MAGIC, Bytes, Cache, Layout, Recurrent, Section

sections = st.builds(Section, st.integers(0, 40), st.integers(1, 70))


@st.composite
def caches(draw: st.DrawFn, ext: int) -> Cache:
    k = draw(st.lists(sections, max_size=4))
    v = draw(st.lists(sections, min_size=len(k), max_size=len(k))) if draw(st.booleans()) else []
    return Cache(ext, tuple(k), tuple(v))


@st.composite
def recurrents(draw: st.DrawFn) -> Recurrent:
    half = draw(st.integers(1, 3))
    found = draw(st.lists(sections, min_size=2 * half, max_size=2 * half))
    return Recurrent(draw(st.integers(half, 9)), tuple(found))


@st.composite
def some(draw: st.DrawFn) -> Layout:
    """A layout of any class."""
    ext = draw(st.sampled_from([0, 12]))
    shape = draw(st.sampled_from(["A", "AW", "AR", "AWR", "R"]))
    return Layout(
        draw(caches(ext)) if "A" in shape else None,
        draw(caches(ext)) if "W" in shape else None,
        draw(recurrents()) if "R" in shape else None,
    )


def cells(cache: Cache, n_stream: int, slot: int, positions: list[int], random: np.random.Generator) -> bytes:
    """An attention cache as llama.cpp writes it, by another way than the module's."""
    out = struct.pack("<I", n_stream) + struct.pack("<I", 0) * slot + struct.pack("<I", len(positions))
    for position in positions:
        out += struct.pack("<iI", position, 1) + random.bytes(cache.ext) + struct.pack("<i", slot)
    out += struct.pack("<II", 0, len(cache.k))
    for section in cache.sections:
        out += struct.pack("<iQ", section.type, section.row) + random.bytes(len(positions) * section.row)
    return out + struct.pack("<I", 0) * (n_stream - slot - 1)


def states(layout: Layout, n: int, n_stream: int, slot: int, seed: int = 0) -> tuple[bytes, bytes]:
    """A state whole and in part."""
    random = np.random.default_rng(seed)
    head = struct.pack("<Ii", MAGIC, slot)
    rows = cells(layout.rows, n_stream, slot, list(range(n)), random) if layout.rows else b""
    rest = cells(layout.window, n_stream, slot, list(range(n)), random) if layout.window else b""
    if layout.recurrent:
        rest += struct.pack("<IiIII", 1, n - 1, 0, 0, layout.recurrent.n_layer)
        for section in layout.recurrent.sections:
            rest += struct.pack("<iQ", section.type, section.row) + random.bytes(section.row)
    return head + rows + rest, head + (rest or rows)


def array(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


places = st.integers(1, 4).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


@given(some(), st.integers(2, 6), places)
def test_a_layout_is_found_or_not_understood(layout: Layout, n: int, place: tuple[int, int]) -> None:
    n_stream, slot = place
    whole, part = states(layout, n, n_stream, slot)
    found = layouts.find(array(whole), array(part), n, n_stream)
    assert found == layout
    assert found.fingerprint == layout.fingerprint


@given(some(), st.integers(2, 6), places, st.data())
def test_what_is_not_as_expected_is_not_understood(
    layout: Layout, n: int, place: tuple[int, int], data: st.DataObject
) -> None:
    n_stream, slot = place
    whole, part = states(layout, n, n_stream, slot)
    size = data.draw(st.integers(0, len(whole) - 1))
    assert layouts.find(array(whole[:size]), array(part), n, n_stream) is None
    assert layouts.find(array(whole + b"\0"), array(part), n, n_stream) is None
    assert layouts.find(array(whole), array(part[:-1]), n, n_stream) is None
    assert layouts.find(array(whole), array(part), n + 1, n_stream) is None
    if layout.rows is not None:
        assert layouts.find(array(whole), array(part), n, n_stream + 1) is None
    assert layouts.find(array(b"\0" + whole[1:]), array(part), n, n_stream) is None


@given(st.binary(max_size=200), st.integers(0, 5), st.integers(1, 4))
def test_noise_is_not_understood(noise: bytes, n: int, n_stream: int) -> None:
    head = struct.pack("<Ii", MAGIC, 0)
    assert layouts.find(array(noise), array(noise), n, n_stream) is None
    found = layouts.find(array(head + noise), array(head + noise), n, n_stream)
    assert found is None or len(noise) >= 4 * (1 + n_stream)


def test_a_second_cache_that_is_not_a_window_is_not_understood() -> None:
    """Models with an index beside their cache keep two sets of rows; both would be needed."""
    cache = Cache(0, (Section(1, 8),), (Section(1, 8),))
    whole, _ = states(Layout(cache, cache, None), 3, 2, 0)
    assert layouts.find(array(whole), array(whole), 3, 2) is None


def test_columns_of_v_are_not_understood() -> None:
    cache = Cache(0, (Section(1, 8),), (Section(1, 8),))
    whole, part = states(Layout(cache, None, None), 3, 1, 0)
    at = HEAD + 8 + 3 * 12
    whole = whole[:at] + struct.pack("<I", 1) + whole[at + 4 :]
    assert layouts.find(array(whole), array(whole), 3, 1) is None
    assert layouts.locate(array(whole), HEAD, cache, 1) is None
    assert layouts.locate(array(part), HEAD, cache, 1) is not None


def test_cells_in_two_streams_are_not_understood() -> None:
    """A sequence lies in one stream."""
    cache = Cache(0, (Section(1, 8),), ())
    whole, _ = states(Layout(cache, None, None), 3, 2, 0)
    assert layouts.locate(array(whole), HEAD, cache, 2) is not None
    assert layouts.locate(array(whole[:-4] + struct.pack("<I", 1)), HEAD, cache, 2) is None


@given(caches(0) | caches(12), st.integers(1, 9), places, st.data())
def test_rows_cut_and_put_together_are_the_state_again(
    cache: Cache, n: int, place: tuple[int, int], data: st.DataObject
) -> None:
    n_stream, slot = place
    whole, _ = states(Layout(cache, None, None), n, n_stream, slot)
    source = layouts.locate(array(whole), HEAD, cache, n_stream)
    assert source is not None
    assert source.end == len(whole)
    marks = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=3))})
    built = np.full(len(whole), 0xAA, np.uint8)
    built[:HEAD] = array(whole[:HEAD])
    target = layouts.begin(built, HEAD, cache, np.arange(n, dtype=np.int32), slot, n_stream)
    for start, stop in pairwise(marks):
        # More rows than are used may be stored.
        stored = data.draw(st.integers(stop, n)) - start
        payload = np.zeros(stored * cache.row_bytes, np.uint8)
        layouts.take(cache, source, start, start + stored, payload)
        layouts.put(cache, target, start, stop - start, payload, stored)
    assert built.tobytes() == whole


@given(caches(0) | caches(12), st.integers(1, 6), st.integers(6, 9), st.randoms(use_true_random=False))
def test_rows_spread_over_other_cells_can_be_found_there(
    cache: Cache, n: int, total: int, random: np.random.Generator
) -> None:
    whole, _ = states(Layout(cache, None, None), n, 1, 0)
    source = layouts.locate(array(whole), HEAD, cache, 1)
    assert source is not None
    places = np.array(random.sample(range(total), n), np.int64)
    built = np.zeros(HEAD + cache.size(total, 1), np.uint8)
    target = layouts.begin(built, HEAD, cache, np.arange(total, dtype=np.int32), 0, 1)
    layouts.spread(cache, source, target, places)
    for i, place in enumerate(places):
        one, other = np.zeros(cache.row_bytes, np.uint8), np.ones(cache.row_bytes, np.uint8)
        layouts.take(cache, source, i, i + 1, one)
        layouts.take(cache, target, int(place), int(place) + 1, other)
        assert np.array_equal(one, other)


@given(some())
def test_fingerprints_differ_with_the_form(layout: Layout) -> None:
    assert layout.row_bytes == (layout.rows.row_bytes if layout.rows else 0)
    if layout.rows and layout.rows.k:
        first = layout.rows.k[0]
        for other in (Section(first.type + 1, first.row), Section(first.type, first.row + 1)):
            changed = replace(layout, rows=replace(layout.rows, k=(other, *layout.rows.k[1:])))
            assert changed.fingerprint != layout.fingerprint
