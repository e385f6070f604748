"""Control tokens in what people write: found, replaced, and given back as text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.template_text import ControlTexts, Guard, literal_pattern, plain_text

CONTROLS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|im_endless|>",
    "</s>",
    "<s>",
    "[INST]",
    "<｜end▁of▁sentence｜>",
    "<unused1>",
    "<unused12>",
)

texts = st.lists(
    st.one_of(
        st.sampled_from(CONTROLS), st.sampled_from(["<", "|>", "<|im_", "start|>", "\ue000", "\n"]), st.text(max_size=5)
    ),
    max_size=8,
).map("".join)
values = st.recursive(
    st.one_of(texts, st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=12), st.text(max_size=40))
def test_the_trie_finds_what_a_plain_alternation_finds(words: list[str], text: str) -> None:
    pattern = literal_pattern(words)
    assert pattern is not None
    plain = re.compile("|".join(re.escape(word) for word in sorted(set(words), key=len, reverse=True)))
    haystack = text + "".join(words) + text
    assert pattern.findall(haystack) == plain.findall(haystack)


def test_no_words_make_no_pattern() -> None:
    assert literal_pattern([]) is None
    assert literal_pattern([""]) is None


def test_thousands_of_control_tokens_cost_no_more_than_a_few() -> None:
    pattern = literal_pattern(f"<unused{i}>" for i in range(6000))
    assert pattern is not None
    assert pattern.findall("<unused59>" + "<" * 100_000 + "<unused5999>") == ["<unused59>", "<unused5999>"]


@given(values)
def test_nothing_protected_holds_a_control_token(value: object) -> None:
    guard = Guard(ControlTexts(CONTROLS))
    protected = json.dumps(guard.protect(value), ensure_ascii=False)
    assert not any(control in protected for control in CONTROLS)


@given(texts, texts, texts)
def test_what_was_written_comes_back_and_its_control_tokens_are_text(before: str, user: str, after: str) -> None:
    template = f"<|im_start|>{before.replace('<', '')}", after.replace("<", "") + "<|im_end|>"
    guard = Guard(ControlTexts(CONTROLS))
    segments = guard.split(template[0] + guard.protect(user) + template[1])
    assert plain_text(segments) == template[0] + user + template[1]
    special = "".join(text for text, is_special in segments if is_special)
    assert special.count("<|im_start|>") == 1
    assert special.count("<|im_end|>") == 1
    assert "[INST]" not in special.replace(template[0], "").replace(template[1], "")


@given(st.text(alphabet=st.characters(exclude_characters="<[", exclude_categories=("Cs",)), max_size=60))
def test_ordinary_text_is_not_touched(text: str) -> None:
    guard = Guard(ControlTexts(CONTROLS))
    assert guard.protect(text) == text
    assert guard.split(text) == ([(text, True)] if text else [])


@pytest.mark.parametrize("cut", range(1, len("<|im_end|>")))
@pytest.mark.parametrize("blank", ["", " ", "\n\n"])
def test_two_texts_cannot_make_a_token_between_them(cut: int, blank: str) -> None:
    """A template may join texts, and strip the blanks that kept them apart."""
    first, second = "<|im_end|>"[:cut] + blank, "<|im_end|>"[cut:]
    guard = Guard(ControlTexts(CONTROLS))
    segments = guard.split(guard.protect(first).rstrip() + guard.protect(second))
    assert plain_text(segments) == "<|im_end|>"
    assert not any("<|im_end|>" in text for text, is_special in segments if is_special)


def test_names_that_templates_compare_are_not_touched() -> None:
    """A control token may begin with a letter, and so with the last letter of a role."""
    guard = Guard(ControlTexts(["ruler", "nothing", "<s>"]))
    message = {"role": "user", "type": "function"}
    assert guard.protect(message) == message


def test_shape_and_order_are_kept() -> None:
    guard = Guard(ControlTexts(CONTROLS))
    tool = {"z": [1, 2.5, None, True], "a": {"text": "plain"}, "m": "x"}
    assert json.dumps(guard.protect(tool)) == json.dumps(tool)


def test_a_template_that_writes_json_in_ascii() -> None:
    guard = Guard(ControlTexts(CONTROLS))
    segments = guard.split('{"c":' + json.dumps(guard.protect("a</s>b")) + "}")
    assert segments == [('{"c":"a', True), ("</s>", False), ('b"}', True)]
    segments = guard.split(json.dumps(guard.protect("<｜end▁of▁sentence｜>")))
    assert plain_text(segments) == json.dumps("<｜end▁of▁sentence｜>")


def test_a_template_may_drop_and_repeat_what_it_was_given() -> None:
    guard = Guard(ControlTexts(CONTROLS))
    once = guard.protect("</s>")
    guard.protect("[INST]")
    assert guard.split(f"{once}-{once}") == [("</s>", False), ("-", True), ("</s>", False)]


def test_a_user_who_knows_the_form_of_placeholders_gains_nothing() -> None:
    controls = ControlTexts(CONTROLS)
    known = Guard(controls).protect("<|im_end|>")
    guard = Guard(controls)
    guard.protect("<|im_end|>")
    assert guard.split(guard.protect(known)) == [(known, True)]


def test_a_vocabulary_without_control_tokens() -> None:
    guard = Guard(ControlTexts([]))
    assert guard.protect("<|im_end|>") == "<|im_end|>"
    assert guard.split("<|im_end|>") == [("<|im_end|>", True)]
    assert guard.split("") == []
