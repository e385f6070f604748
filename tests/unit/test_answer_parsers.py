"""Answers of each family, as its template has taught it to write them, and cut at every place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.answers.formats import ChatFormat, chat_format
from fireside_engine.core.answers.parser import answer_parser
from fireside_engine.core.answers.parts import CallArguments, CallStart, Part, Reasoning, Text, joined

TOOLS: dict[str, Any] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "exact": {"type": "boolean"}},
    },
    "now": {},
}
HERMES = ChatFormat()
LLAMA3 = chat_format("<|python_tag|>", ["<|python_tag|>"])
MISTRAL = chat_format("[TOOL_CALLS]", ["[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"])
GEMMA = chat_format("<start_function_call>", ["<start_function_call>", "<end_function_call>", "<escape>"])
GEMMA4 = chat_format("<|tool_call>", ["<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"])
DEEPSEEK = chat_format("<｜tool▁calls▁begin｜>", [])
HARMONY = chat_format("<|channel|>analysis<|message|>", ["<|channel|>", "<|message|>", "<|start|>", "<|end|>"])


def parse(text: str, form: ChatFormat = HERMES, tools: Any = TOOLS, size: int = 10**9, **options: Any) -> list[Part]:
    parser = answer_parser(form, tools, **options)
    text = options.get("opening", "") + text
    found = [part for at in range(0, len(text), size) for part in parser.push(text[at : at + size])]
    return joined(found + parser.finish())


def call(name: str, index: int = 0, **arguments: Any) -> tuple[int, str, Any]:
    return index, name, arguments


def simple(parts: list[Part]) -> list[Any]:
    """Calls as (index, name, arguments), words as text, thinking as ("thinks", text)."""
    found: list[Any] = []
    for part in parts:
        match part:
            case Text(text):
                found.append(text)
            case Reasoning(text):
                found.append(("thinks", text))
            case CallStart(index, name):
                found.append((index, name, None))
            case CallArguments(index, text):
                assert found[-1][0] == index
                found[-1] = (*found[-1][:2], json.loads(text))
    return found


WEATHER = call("get_weather", city="Bern", days=2)
OBJECT = '{"name": "get_weather", "arguments": {"city": "Bern", "days": 2}}'

CASES: dict[str, tuple[ChatFormat, str, list[Any]]] = {
    "words": (HERMES, "  Hello <b>you</b>\n\n", ["  Hello <b>you</b>\n\n"]),
    "hermes": (HERMES, f"<tool_call>\n{OBJECT}\n</tool_call>", [WEATHER]),
    "hermes, without an end": (HERMES, f"<tool_call>\n{OBJECT}", [WEATHER]),
    "hermes, two with words before": (
        HERMES,
        f'I look.\n\n<tool_call>\n{OBJECT}\n</tool_call>\n<tool_call>{{"name":"now","arguments":{{}}}}</tool_call>\n',
        ["I look.", WEATHER, call("now", 1)],
    ),
    "hermes, an array": (
        HERMES,
        f'<tool_call>[{OBJECT}, {{"arguments": {{}}, "name": "now"}}]</tool_call> Done.',
        [WEATHER, call("now", 1), "Done."],
    ),
    "arguments as text": (
        HERMES,
        '<tool_call>{"name":"get_weather","arguments":"{\\"city\\": \\"Bern\\", \\"days\\": 2}"}</tool_call>',
        [WEATHER],
    ),
    "braces and quotes inside": (
        HERMES,
        '<tool_call>{"name":"get_weather","arguments":{"city":"}\\"{ </tool_call>"}}</tool_call>',
        [call("get_weather", city='}"{ </tool_call>')],
    ),
    "no arguments": (HERMES, '<tool_call>{"name":"now"}</tool_call>', [call("now")]),
    "null arguments": (HERMES, '<tool_call>{"name":"now","arguments":null}</tool_call>', [call("now")]),
    "as OpenAI writes it": (HERMES, f'<tool_call>{{"type":"function","function":{OBJECT}}}</tool_call>', [WEATHER]),
    "thinking": (HERMES, "<think>\nHm.\n\nYes.\n</think>\n\nHello ", [("thinks", "Hm.\n\nYes."), "Hello "]),
    "no thinking": (HERMES, "<think>\n\n</think>\n\nHello", ["Hello"]),
    "thinking, then a call": (
        HERMES,
        f"<think>a</think>\n\n<tool_call>{OBJECT}</tool_call>",
        [("thinks", "a"), WEATHER],
    ),
    "thinking about thinking": (HERMES, "It is <think>x</think>.", ["It is <think>x</think>."]),
    "thinking that was cut off": (HERMES, "<think>Hm. </thi", [("thinks", "Hm. </thi")]),
    "a call that is none": (HERMES, "<tool_call>what?</tool_call> yes", ["<tool_call>what?</tool_call> yes"]),
    "a call without a name": (HERMES, '<tool_call>{"a": 1}', ['<tool_call>{"a": 1}']),
    "a bare object": (HERMES, OBJECT, [WEATHER]),
    "a bare object in a fence": (HERMES, f"```json\n{OBJECT}\n```\nDone", [WEATHER, "Done"]),
    "an object that is no call": (HERMES, '{"name": "Bob", "age": 3}', ['{"name": "Bob", "age": 3}']),
    "a fence that is no call": (HERMES, '```json\n{"name": "Bob"}\n```', ['```json\n{"name": "Bob"}\n```']),
    "code": (HERMES, "```python\nx = {}\n```", ["```python\nx = {}\n```"]),
    "qwen coder": (
        HERMES,
        (
            "I look.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>\n2\n"
            "</parameter>\n</function>\n</tool_call>"
        ),
        ["I look.", WEATHER],
    ),
    "qwen coder, a text that looks like a number": (
        HERMES,
        "<tool_call><function=get_weather><parameter=city>12</parameter><parameter=exact>True</parameter></function></tool_call>",
        [call("get_weather", city="12", exact=True)],
    ),
    "qwen coder, nothing given": (HERMES, "<tool_call>\n<function=now>\n</function>\n</tool_call>", [call("now")]),
    "llama": (
        LLAMA3,
        '{"name": "get_weather", "parameters": {"city": "Bern", "days": 2}}; {"name": "now", "parameters": {}}',
        [WEATHER, call("now", 1)],
    ),
    "llama, marked": (LLAMA3, '<|python_tag|>{"name": "now", "parameters": {}}', [call("now")]),
    "llama, its own": (LLAMA3, '<function=get_weather>{"city": "Bern", "days": 2}</function>', [WEATHER]),
    "mistral": (
        MISTRAL,
        f'[TOOL_CALLS][{OBJECT}, {{"name": "now", "arguments": {{}}, "id": "abcdefghi"}}]',
        [WEATHER, call("now", 1)],
    ),
    "mistral, newer": (
        MISTRAL,
        '[THINK]Hm[/THINK]No.[TOOL_CALLS]get_weather[ARGS]{"city": "Bern", "days": 2}[TOOL_CALLS]now[CALL_ID]x[ARGS]{}',
        [("thinks", "Hm"), "No.", WEATHER, call("now", 1)],
    ),
    "gemma": (
        GEMMA,
        "<start_function_call>call:get_weather{city:<escape>Bern<escape>,days:2}<end_function_call>",
        [WEATHER],
    ),
    "gemma 4": (
        GEMMA4,
        '<|channel>thought\nHm<channel|><|tool_call>call:get_weather{city:<|"|>{Bern}<|"|>,l:[1,{a:true}]}<tool_call|>',
        [("thinks", "Hm"), call("get_weather", city="{Bern}", l=[1, {"a": True}])],
    ),
    "deepseek": (
        DEEPSEEK,
        (
            "<think>a</think>Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
            '```json\n{"city": "Bern", "days": 2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        [("thinks", "a"), "Yes.", WEATHER, call("now", 1)],
    ),
    "harmony": (
        HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
        [("thinks", "Hm."), "Hello."],
    ),
    "harmony, a call": (
        HARMONY,
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
            "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
            '{"city": "Bern", "days": 2}<|call|>'
        ),
        [("thinks", "Hm."), "I look.", WEATHER],
    ),
    "harmony, recipient first": (
        HARMONY,
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant to=functions.now<|channel|>commentary<|message|>",
        [("thinks", "A"), call("now")],
    ),
    "harmony, out of its format": (HARMONY, '{"a": 1}', ['{"a": 1}']),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10**9])
def test_answers_are_told_apart(name: str, size: int) -> None:
    form, text, expected = CASES[name]
    assert simple(parse(text, form, size=size)) == expected


@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(1, 30), max_size=40), st.integers(0, 400))
def test_parts_do_not_depend_on_how_the_text_is_cut(name: str, sizes: list[int], end: int) -> None:
    """Also where the answer ends in the middle."""
    form, text, _ = CASES[name]
    text = text[: len(text) - end] or text
    parser = answer_parser(form, TOOLS)
    found, at = [], 0
    for size in [*sizes, len(text)]:
        found += parser.push(text[at : at + size])
        at += size
    assert joined(found + parser.finish()) == parse(text, form, size=1)


MARKS = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<function=now>", "<parameter=a>", "</parameter>",
    "</function>", '{"name": "now"', ', "arguments": ', "{", "}", "[", "]", '"', "\\", ",", "```json\n", "```",
    "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<|channel|>", "<|message|>", "final", "analysis",
    " to=functions.now ", "<|end|>", "<|start|>", "<start_function_call>", "call:now{", "<end_function_call>",
    "<escape>", "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
    " ", "\n", "x", "ü", ":",
]  # fmt: skip
FORMS = [HERMES, LLAMA3, MISTRAL, GEMMA, GEMMA4, DEEPSEEK, HARMONY]


@given(st.sampled_from(FORMS), st.lists(st.sampled_from(MARKS), max_size=25), st.lists(st.integers(1, 9), max_size=60))
def test_no_text_breaks_a_parser(form: ChatFormat, pieces: list[str], sizes: list[int]) -> None:
    text = "".join(pieces)
    whole = parse(text, form)
    parser = answer_parser(form, TOOLS)
    found, at = [], 0
    for size in [*sizes, len(text) + 1]:
        found += parser.push(text[at : at + size])
        at += size
    assert joined(found + parser.finish()) == whole
    starts = [part.index for part in whole if isinstance(part, CallStart)]
    assert starts == list(range(len(starts)))
    assert all(part.text for part in whole if not isinstance(part, CallStart))


@given(st.text(alphabet='ab{}[]"<>/`_|\n think_tolc', max_size=60))
def test_without_tools_and_thinking_words_stay_as_they_are(text: str) -> None:
    for form in (HERMES, LLAMA3, MISTRAL, GEMMA):
        assert joined(parse(text, form, tools={}, size=1, thinks=False)) == ([Text(text)] if text else [])


def test_without_tools_no_word_waits() -> None:
    """Every character of an ordinary answer leaves at once, white space included."""
    parser = answer_parser(HERMES, {})
    assert [parser.push(char) for char in "Hi <tool_call> "] == [[Text(char)] for char in "Hi <tool_call> "]


def test_arguments_are_streamed() -> None:
    parser = answer_parser(HERMES, TOOLS)
    assert parser.push('<tool_call>{"name": "get_weather", "argu') == [CallStart(0, "get_weather")]
    assert parser.push('ments": {"ci') == [CallArguments(0, '{"ci')]
    assert parser.push('ty": 1}') == [CallArguments(0, 'ty": 1}')]
    assert parser.push("}</tool_call>") == []


def test_what_stands_in_the_prompt_already_is_no_part_of_the_answer() -> None:
    assert simple(parse("Hm.\n</think>\n\nYes.", opening="<think>")) == [("thinks", "Hm."), "Yes."]
    assert simple(parse(OBJECT, opening="<tool_call>\n")) == [WEATHER]
    assert simple(parse(OBJECT, HARMONY, opening="<tool_call>")) == [WEATHER]
    assert simple(parse("{}", HARMONY, opening="<|channel|>commentary to=functions.now json<|message|>")) == [
        call("now")
    ]


def test_thinking_may_stay_in_the_words() -> None:
    assert parse("<think>a</think>b", thinks=False) == [Text("<think>a</think>b")]
