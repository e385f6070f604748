"""Stop strings and characters: nothing leaks, nothing is lost, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.detokenizer import Detokenizer
from fireside_engine.core.stop import StopMachine

letters = st.text(alphabet="ab<|>\n", max_size=30)
stops = st.lists(st.text(alphabet="ab<|>\n", min_size=1, max_size=4), max_size=4)


def feed(text: str, stops: list[str], cuts: list[int]) -> tuple[str, str | None]:
    machine, out, last = StopMachine(stops), "", 0
    for cut in sorted({min(cut, len(text)) for cut in cuts} | {len(text)}):
        released = machine.push(text[last:cut])
        last = cut
        out += released.text
        if released.stop is not None:
            return out, released.stop
    released = machine.finish()
    return out + released.text, released.stop


@given(letters, stops, st.lists(st.integers(0, 30), max_size=8))
def test_any_cutting_gives_the_text_before_the_first_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    found = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    shown, met = feed(text, stops, cuts)
    if not found:
        assert (shown, met) == (text, None)
    else:
        at, _, _ = min(found)
        assert shown == text[:at]
        assert met is not None
        assert text.startswith(met, at)


def test_text_is_held_no_longer_than_it_may_begin_a_stop() -> None:
    machine = StopMachine(["<end>"])
    assert machine.push("a <en").text == "a "
    assert machine.push("ough").text == "<enough"


@given(st.text(max_size=40), st.lists(st.integers(0, 160), max_size=10))
def test_characters_are_never_split(text: str, cuts: list[int]) -> None:
    raw, detokenizer, out, last = text.encode("utf-8", "replace"), Detokenizer(), "", 0
    for cut in sorted({min(cut, len(raw)) for cut in cuts} | {len(raw)}):
        part = detokenizer.push(raw[last:cut])
        last = cut
        assert "�" not in part or "�" in text
        out += part
    assert out == raw.decode("utf-8")


@pytest.mark.parametrize("raw", [b"ok \xf0\x9f", b"ok \xe2"])
def test_a_character_that_is_never_finished_is_not_shown(raw: bytes) -> None:
    assert Detokenizer().push(raw) == "ok "


def test_bytes_that_are_no_text_are_marked() -> None:
    assert Detokenizer().push(b"a\xffb") == "a�b"
