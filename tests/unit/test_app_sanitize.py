"""No text of a model can control the terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.sanitize import Sanitizer, clean, clean_line

NASTY = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x1b\\",
    "\x9b2J",
    "\x9dtitle\x9c",
    "\x1bPdevice\x1b\\",
    "\x1b(B",
    "\x1bc",
    "\x08\x7f\r\x00",
]
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text("ab \n\t;[]\\m\x1b\x07\x9b\x9c\x85é漢", max_size=8))).map(
    "".join
)


@pytest.mark.parametrize(
    ("dirty", "text"),
    [
        ("\x1b[1;31mred\x1b[0m!", "red!"),
        ("a\x1b]0;window title\x07b", "ab"),
        ("a\x1b]52;c;aGk=\x1b\\b", "ab"),
        ("\x9b31mC1\x9b0m", "C1"),
        ("\x1b(Bascii", "ascii"),
        ("over\x08\x08write\r\n", "overwrite\n"),
        ("tab\tand\nline stay", "tab\tand\nline stay"),
        ("a string that never ends \x1b]0;title\nends with its line", "a string that never ends \nends with its line"),
        ("\x1b", ""),
        ("array[0] ]x P^_", "array[0] ]x P^_"),
        ("\x1bé", "é"),
    ],
)
def test_sequences_go_and_text_stays(dirty: str, text: str) -> None:
    assert clean(dirty) == text


@given(texts)
def test_a_cut_anywhere_changes_nothing(text: str) -> None:
    whole = clean(text)
    for cut in range(len(text) + 1):
        sanitizer = Sanitizer()
        assert sanitizer.feed(text[:cut]) + sanitizer.feed(text[cut:]) == whole
    sanitizer = Sanitizer()
    assert "".join(sanitizer.feed(char) for char in text) == whole


@given(st.one_of(st.text(), texts))
def test_no_control_character_comes_through(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", clean(text))
    assert clean(clean(text)) == clean(text)
    assert "\n" not in clean_line(text)


@given(st.text(st.characters(exclude_categories=["Cc"])))
def test_text_without_control_characters_is_untouched(text: str) -> None:
    assert clean(text) == text
