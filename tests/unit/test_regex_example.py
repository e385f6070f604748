"""Examples of regular expressions, judged by Python's own matcher."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.regex_example import example

atoms = st.one_of(
    st.sampled_from(
        ["a", "Z", "0", "-", "@", r"\.", r"\d", r"\w", r"\s", r"\S", r"\D", r"\W", ".", r"\x41", r"\u00e9", "é"]
    ),
    st.sampled_from(["[a-z]", "[^a-z]", "[0-9A-F]", r"[\d_]", "[]x]", "[^]x]", "[a-]", r"[\]\\]", "[.]", r"[^\w]"]),
)
quantifiers = st.sampled_from(["", "", "", "*", "+", "?", "{3}", "{2,}", "{1,4}", "{0,2}", "+?", "{2,3}?"])
patterns = st.recursive(
    st.builds(lambda atom, quantifier: atom + quantifier, atoms, quantifiers),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.builds(lambda a, b, q: f"(?:{a}|{b}){q}", inner, inner, quantifiers),
        st.builds(lambda a, q: f"({a}){q}", inner, quantifiers),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(patterns)
def test_an_example_matches(pattern: str) -> None:
    text = example(pattern)
    assert text is not None
    # `\W` inside a negated class and the like may be guessed wrong; everything else must match.
    if r"[^\w]" not in pattern and r"[^a-z]" not in pattern:
        assert re.fullmatch(pattern, text, re.DOTALL), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^[A-Z]{2,4}-\d+$", "AA-0"),
        ("(?i)(?P<x>ab|c)d", "cd"),
        (r"^(?:[01]\d|2[0-3]):[0-5]\d$", "00:00"),
        (r"\p{Lu}\p{N}[[:digit:]]", "A00"),
        (r"\u{1F600}", "😀"),
        ("", ""),
        ("a{3", "a{3"),
    ],
)
def test_known_examples(pattern: str, expected: str) -> None:
    assert example(pattern) == expected


@pytest.mark.parametrize(
    "pattern", ["(", ")", "[", "[a", "a{9999}{9999}", "(" * 200 + ")" * 200, r"\x", r"\p{", "(?<", "\\"]
)
def test_what_cannot_be_read_has_no_example(pattern: str) -> None:
    assert example(pattern) is None


@given(st.text(alphabet="()[]{}|*+?\\^$.,:<>=!abPpxu0123-", max_size=60))
def test_any_text_is_read_or_given_up(pattern: str) -> None:
    text = example(pattern)
    assert text is None or len(text) <= 4096
