"""What is refused before a grammar compiler sees it, and that honest schemas and grammars pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core import grammar_limits as limits
from fireside_engine.core.grammar_limits import check_lark, check_regex, parse_schema
from fireside_engine.errors import InvalidConstraint


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE_SCHEMAS = {
    "too large": json.dumps({"enum": ["x" * 60] * 2000}),
    "too deep": json.dumps(nested(33)),
    "brackets only": "[" * 60_000,
    "cut": '{"type":',
    "no object": "[]",
    "nothing allowed": "false",
    "not JSON": '{"minimum": NaN}',
    "a huge number": '{"minimum": ' + "9" * 5000 + "}",
    "elsewhere": '{"$ref": "http://example.com/schema.json"}',
    "a file": '{"properties": {"a": {"$ref": "file:///etc/passwd"}}}',
    "fine multiples": '{"type": "integer", "multipleOf": 99999989}',
    "fine fractions": '{"type": "number", "multipleOf": 0.00012347}',
    "multiples that do not divide each other": '{"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}',
    "hidden in data": '{"$ref": "#/default", "default": {"type": "integer", "multipleOf": 99999989}}',
    "hidden under a name": '{"properties": {"enum": {"type": "integer", "multipleOf": 99999989}}}',
    "a long constant": json.dumps({"const": "x" * 5000}),
    "a long name": json.dumps({"properties": {"x" * 5000: {}}}),
    "many parts": json.dumps({"enum": list(range(12_000))[:12_000] + [0] * 9000}),
    "a pattern of brackets": json.dumps({"pattern": "(" * 300}),
    "a pattern that repeats": json.dumps({"pattern": "((a{0,999}){0,999}){0,999}"}),
    "a key that repeats": json.dumps({"patternProperties": {"a{1,99999}": {}}}),
    "half a character": '{"const": "\ud800"}',
}


@pytest.mark.parametrize("name", HOSTILE_SCHEMAS)
def test_hostile_schemas_are_refused(name: str) -> None:
    with pytest.raises(InvalidConstraint) as caught:
        parse_schema(HOSTILE_SCHEMAS[name])
    assert caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        nested(31),
        {"properties": {"pattern": {"type": "string"}, "multipleOf": {"type": "integer"}, "$ref": {"type": "string"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "multipleOf": 0.01}}},
        {"type": "integer", "multipleOf": 1_000_000},
        {"type": "array", "minItems": 100_000_000},
        {"enum": ["[[[[[[[[[[" * 20, '"{{{{' * 20]},
    ],
)
def test_honest_schemas_pass(schema: Any) -> None:
    parsed, _ = parse_schema(json.dumps(schema))
    assert parsed == ({} if schema is True else schema)


def test_facts_of_a_schema() -> None:
    schema = {"properties": {"a": {"pattern": "^a+$"}, "b": {"format": "uuid"}}, "patternProperties": {"^k": {}}}
    _, facts = parse_schema(json.dumps(schema))
    assert set(facts.patterns) == {"^a+$", "^k"}
    assert facts.formats == ("uuid",)


def test_the_compilers_own_options_are_not_the_clients() -> None:
    parsed, _ = parse_schema('{"type": "object", "x-guidance": {"whitespace_flexible": true}}')
    assert parsed == {"type": "object"}


HOSTILE_LARK = {
    "brackets": "start: " + "(" * 60_000,
    "closed brackets": "start: " + "(" * 250 + '"a"' + ")" * 250,
    "rules": "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(2500)) + 'r2500: "a"',
    "nested repetition": 'start: (("a"{0,999}){0,999}){0,999}',
    "one repetition": 'start: "a"{99999999}',
    "tildes": 'start: ("a" ~ 1..9999) ~ 9999',
    "a bound of many digits": 'start: "a"{' + "9" * 60_000 + "}",
    "inside a regex": "start: /((a{0,999}){0,999}){0,999}/",
    "inside a schema": 'start: %json {"type": "integer", "multipleOf": 99999989}',
    "a schema that is none": "start: %json {{{",
    "too large": "start: " + '"a" ' * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE_LARK)
def test_hostile_lark_is_refused(name: str) -> None:
    with pytest.raises(InvalidConstraint):
        check_lark(HOSTILE_LARK[name])


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "a" | b\nb: /[a-z]{1,20}/ // not a {99999,} bound\n# nor "(((" here\nC: "(" ~ 2..5',
        'start: %json {"type": "object", "properties": {"a": {"type": "string"}}} "\\n"',
        'start: "' + "(" * 300 + '"',
        "start: /[" + "(" * 300 + "]/",
    ],
)
def test_honest_lark_passes(grammar: str) -> None:
    check_lark(grammar)


@pytest.mark.parametrize(
    "pattern",
    ["(" * 300, "[" * 300, "((a{0,999}){0,999}){0,999}", "a{0,100000000}", "a" * (limits.MAX_SOURCE + 1), "\udc00"],
)
def test_hostile_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidConstraint):
        check_regex(pattern)


@pytest.mark.parametrize("pattern", ["^+[a-z]$", r"\(\(\(" * 200, r"[(]{100}", "(a|b)*a(a|b){200}", "", "a{,5}", "{}{"])
def test_honest_patterns_pass(pattern: str) -> None:
    check_regex(pattern)


@given(st.text(alphabet='()[]{}"/\\~,.:|%#jsona01 \n', max_size=200))
def test_any_text_is_either_passed_or_refused(text: str) -> None:
    for check in (check_lark, check_regex, parse_schema):
        try:
            check(text)
        except InvalidConstraint as error:
            assert len(error.message) < 400


@pytest.mark.parametrize("unit", ['"\\"', '\\"', "/", "/\\/", "~ ", "{1", "[ ", "(", "\n", "a\n", " \t", "%json", '"'])
def test_checking_is_linear_in_what_is_checked(unit: str) -> None:
    """Would take minutes if scanning started over at each character."""
    text = unit * (limits.MAX_SOURCE // len(unit))
    for check in (check_lark, check_regex, parse_schema):
        try:
            check(text)
        except InvalidConstraint:
            continue
