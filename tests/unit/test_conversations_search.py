"""What a search means, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.conversations.search import excerpt, fold, holds, parse, plans


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("rust lifetimes", ["rust", "lifetimes"]),
        ('  "borrow  checker" why', ["borrow checker", "why"]),
        ('open "quote here', ["open", "quote here"]),
        ('"" " " \0', []),
        ('a"b', ["a b"]),
    ],
)
def test_terms(query: str, terms: list[str]) -> None:
    assert parse(query) == terms


def test_scripts_without_spaces_are_not_asked_for_as_words() -> None:
    assert [plan.by for plan in plans(["额度调整链"])] == ["trigrams", "parts"]
    assert [plan.by for plan in plans(["调整"])] == ["parts"]
    assert [plan.by for plan in plans(["über"])] == ["words", "trigrams", "parts"]
    assert [plan.by for plan in plans(["c"])] == ["words", "parts"]
    assert [plan.by for plan in plans(["++"])] == ["parts"]


def test_signs_are_looked_at_although_the_index_has_none() -> None:
    assert holds("C++ and so on", ["c++"], "words")
    assert not holds("C and so on", ["c++"], "words")
    assert holds("nothing here, but the index said so", ["über"], "words")


@given(st.text())
def test_folding_keeps_every_character_in_its_place(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


def test_folding() -> None:
    assert fold("ÄÖÜ Éa ñ Straße") == "aou ea n straße"


@given(st.text(max_size=400), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_marks_lie_in_the_excerpt_and_are_what_was_looked_for(text: str, terms: list[str]) -> None:
    found = excerpt(text, terms, context=10, length=40)
    assert len(found.text) <= 42
    assert "\n" not in found.text
    last = 0
    for start, end in found.marks:
        assert last <= start < end <= len(found.text)
        last = end


def test_an_excerpt_shows_where_most_terms_are_together() -> None:
    text = "needle " + "hay " * 200 + "a needle and a thread " + "hay " * 200
    found = excerpt(text, ["needle", "thread"])
    assert found.text.startswith("…")
    assert found.text.endswith("…")
    assert [found.text[a:b] for a, b in found.marks] == ["needle", "thread"]
    assert excerpt("A Needle", ["needle"]) == ("A Needle", ((2, 8),))
    assert excerpt("nothing", ["x"]).marks == ()
