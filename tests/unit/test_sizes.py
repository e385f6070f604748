"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.models.sizes import parse_size, size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("10GiB", 10 * 2**30),
        ("1.5 MiB", 3 * 2**19),
        ("500M", 500_000_000),
        ("3Ki", 3072),
        ("1TB", 10**12),
        (" 7 B ", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 2", "2i", "2iB", "1e9", "1,5 GB", "10 GBB", "١GB", "inf"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 2GB"):
        parse_size(text)


@given(st.integers(0, 10**18 - 1))
def test_a_number_is_itself(size: int) -> None:
    assert size_of(size) == size_of(str(size)) == size


@pytest.mark.parametrize("value", [-1, True, 1.5, None, [1]])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        size_of(value)
