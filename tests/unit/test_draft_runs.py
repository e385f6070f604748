"""Which parts of a text were drafted and accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fireside.account import Account
from fireside.tui.widgets.message import tinted
from fireside_engine.core.runs import runs


def test_neighbours_are_one_run_and_a_character_belongs_to_the_token_that_completes_it() -> None:
    snowman = "☃".encode()
    pieces = [b"ab", b"c", snowman[:1], snowman[1:], b"de"]
    assert runs(pieces, {0, 1}, 6) == ((0, 3),)
    assert runs(pieces, {2}, 6) == ()
    assert runs(pieces, {0, 3}, 6) == ((0, 2), (3, 1))
    assert runs(pieces, {4}, 5) == ((4, 1),), "what a stop string took is no part of the text"


@given(st.lists(st.binary(max_size=4), max_size=30), st.sets(st.integers(0, 30)), st.integers(0, 60))
def test_runs_lie_in_the_text_in_order_and_apart(pieces: list[bytes], accepted: set[int], length: int) -> None:
    found = runs(pieces, accepted, length)
    end = -1
    for first, size in found:
        assert first > end
        assert size > 0
        end = first + size
        assert end <= length


@given(st.text("abé☃ \n", max_size=12))
def test_with_every_token_accepted_the_whole_text_is_one_run(text: str) -> None:
    pieces = [bytes([byte]) for byte in text.encode()]
    assert runs(pieces, set(range(len(pieces))), len(text)) == (((0, len(text)),) if text else ())


def test_an_account_keeps_them_and_leaves_out_what_is_none() -> None:
    told = {"draft_runs": [[0, 3], [5, 2], "x", [1], [1, "y"]]}
    account = Account.of({}, told, model="m", asked="m", ending="stop")
    assert account.draft_runs == ((0, 3), (5, 2))
    assert Account.of_json(account.to_json()) == account


def test_the_tint_is_where_the_runs_are() -> None:
    content = tinted("one two three", [(4, 3), (8, 5)])
    assert content.plain == "one two three"
    assert [(span.start, span.end) for span in content.spans] == [(4, 7), (8, 13)]
