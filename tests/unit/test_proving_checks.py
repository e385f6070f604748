"""Checks of answers, embedded prompts, and the fence around programs of a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.failure import Failure
from fireside.proving import checks, items, testing
from fireside.proving.checks import Command, Every, Exact, Matches, Number, Python
from fireside.proving.json_answers import find_json, same, violation
from fireside.proving.kinds import KINDS, kind_of
from fireside.proving.testing import Limits


def passes(check: checks.Check, answer: str) -> bool:
    return testing.judge(check, answer).passed


def test_the_embedded_sets_are_of_all_kinds_and_their_checks_tell_right_from_wrong() -> None:
    found = items.embedded()
    assert len({item.id for item in found}) == len(found)
    for kind in KINDS:
        assert sum(item.kind == kind for item in found) >= 24
    for item in found:
        check = item.parsed_check
        assert check is not None
        if not isinstance(check, Python):
            # Of programs a few are enough here: each starts a process.
            assert passes(check, item.good), item.id
            assert not passes(check, "I am afraid that this is beyond me."), item.id
        else:
            assert "assert" in check.tests or "raise" in check.tests


def test_programs_of_the_embedded_set() -> None:
    code = [item for item in items.embedded(["code"]) if item.id in ("code-03", "code-21")]
    for item in code:
        check = item.parsed_check
        assert check is not None
        assert passes(check, item.good)
        assert not passes(check, "```python\ndef other():\n    return 1\n```")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("It is 42.", 42.0),
        ("17 - 4 = 13", 13.0),
        ("about 1,234,567 people", 1234567.0),
        ("-3.5", -3.5),
        ("first 3, then 4", 4.0),
        ("1.2e3", 1200.0),
        ("$35.00", 35.0),
        ("none", None),
        ("9" * 400, float("inf")),
    ],
)
def test_the_last_number(answer: str, number: float | None) -> None:
    assert checks.last_number(answer) == number


@pytest.mark.parametrize("answer", ["Positive", " positive.", '"positive"', "**positive**", "```\npositive\n```"])
def test_short_answers_are_compared_without_what_does_not_count(answer: str) -> None:
    assert passes(Exact(("positive",)), answer)


def test_an_exact_answer_is_no_part_of_a_longer_one() -> None:
    assert not passes(Exact(("positive",)), "It is positive")


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=4), max_leaves=9)
)
def test_json_is_the_same_as_itself_wherever_it_stands(value: object) -> None:
    text = json.dumps(value)
    assert same(json.loads(text), value)
    found = find_json(f"Here it is:\n```json\n{text}\n```\nBye.")
    assert found is not None
    assert same(found.value, value)


def test_json_in_words_and_a_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    assert passes(checks.read({"type": "schema", "schema": schema}), 'Sure! {"n": 3} is it.')
    assert "below" in violation({"n": 0}, schema)
    assert "lacks n" in violation({}, schema)
    assert "no integer" in violation({"n": True}, schema)
    assert "does not know" in violation({"n": 1, "x": 2}, {**schema, "additionalProperties": False})
    assert "[1]" in violation([1, "a"], {"type": "array", "items": {"type": "number"}})
    assert not passes(checks.read({"type": "json", "value": {"n": 1}}), "no JSON at all {")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {"type": "exakt", "values": ["a"]},
        {"type": "exact", "values": []},
        {"type": "exact", "values": [1]},
        {"type": "regex", "pattern": "("},
        {"type": "number", "value": True},
        {"type": "number", "value": 1, "tolerence": 2},
        {"type": "every", "checks": []},
        {"type": "words", "min": 1},
    ],
)
def test_a_check_that_is_not_understood_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        checks.read(wrong)


def test_every_needs_all() -> None:
    both = Every((Matches("a"), Number(3)))
    assert passes(both, "a 3")
    assert not passes(both, "b 3")


LIMITS = Limits(seconds=1, memory=256 << 20)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("import socket\nsocket.socket()", "not allowed"),
        ("import os\nos.system('true')", "not allowed"),
        ("import os\nos._exit(0)", "ended before"),
        ("raise SystemExit(0)", "ended before"),
        ("while True: pass", "took more than 1 s"),
        ("x = [0] * 10**9", "MemoryError"),
        ("while True: print('x' * 1000)", "wrote too much"),
        ("def f(): return 1", "AssertionError"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_program_that_misbehaves_does_not_pass(code: str, word: str) -> None:
    verdict = testing.judge(Python("assert f() == 2"), f"```python\n{code}\n```", LIMITS)
    assert not verdict.passed
    assert word in verdict.why


def test_a_program_changes_nothing_outside_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    for code in (
        f"import os; os.remove({str(file)!r})",
        f"open({str(file)!r}, 'w')",
        f"open({str(tmp_path / 'new')!r}, 'x')",
    ):
        assert not testing.judge(Python(""), code, LIMITS).passed
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.txt"]
    assert file.read_text() == "mine"
    assert testing.judge(Python(""), "open('here', 'w').write('1')", LIMITS).passed


def test_a_command_of_the_user() -> None:
    answer = "```python\nprint(21 * 2)\n```"
    run = Command(("sh", "-c", 'test "$(python3 {file})" = 42'), ".py")
    assert passes(run, answer)
    assert not passes(run, "```python\nprint(1)\n```")
    assert "no program" in testing.judge(Command(("no-such-program",)), answer).why


def test_a_file_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"prompt": "Translate into French: cat"}\n\n'
        '{"id": "b", "messages": [{"role": "user", "content": "2 + 2?"}], "check": {"type": "number", "value": 4}}\n'
        '{"prompt": "x", "schema": {"type": "array"}, "max_tokens": 9}\n'
    )
    one, two, three = items.from_file(path)
    assert (one.id, one.kind, one.check) == ("mine.jsonl:1", "rewriting", None)
    assert (two.id, two.kind) == ("b", "arithmetic")
    assert three.check == {"type": "schema", "schema": {"type": "array"}}
    assert three.body["response_format"]["json_schema"]["schema"] == {"type": "array"}
    assert items.Item.of_json(json.loads(json.dumps(two.to_json()))) == two


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"prompt": " "}',
        '{"prompt": "x", "chek": 1}',
        '{"prompt": "x", "check": {"type": "x"}}',
        '{"prompt": "x", "max_tokens": 0}',
        '{"prompt": "x", "kind": "poem"}',
        '{"messages": [{"role": "assistant", "content": "x"}]}',
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"prompt": "a"}}\n{line}\n')
    with pytest.raises(Failure, match=r"mine\.jsonl:2"):
        items.from_file(path)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Write a Python function that sorts", "code"),
        ("Is this spam? Win now", "classification"),
        ("Summarise this text", "rewriting"),
        ("Extract the names from this text", "extraction"),
        ("12 * 12 =", "arithmetic"),
        ("Why is the sky blue?", "open"),
    ],
)
def test_kinds_are_told_by_words(question: str, kind: str) -> None:
    assert kind_of(question) == kind


@given(st.text())
def test_every_text_has_a_kind(text: str) -> None:
    assert kind_of(text) in KINDS
