"""Constrained answers on real vocabularies: always valid, always inside their limit, never at others' cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grammar_bench import Bench, walk

from fireside_engine.errors import InternalError, InvalidConstraint
from fireside_engine.llama.library import api

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["smollm2", "qwen_small"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.getfixturevalue(request.param))
    yield made
    api.llama_model_free(made.model)


KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """JSON schema, as far as these tests use it."""
    kind = schema.get("type")
    if kind is not None and not isinstance(value, KINDS[kind]):
        return False
    if kind in ("number", "integer") and isinstance(value, bool):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "oneOf" in schema and sum(is_valid(value, option) for option in schema["oneOf"]) != 1:
        return False
    if "anyOf" in schema and not any(is_valid(value, option) for option in schema["anyOf"]):
        return False
    if isinstance(value, str):
        low, high = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        return low <= len(value) <= high and re.search(schema.get("pattern", ""), value, re.ASCII) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        return inside and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    if isinstance(value, list):
        enough = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
        return enough and all(is_valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if any(name not in value for name in schema.get("required", ())):
            return False
        if schema.get("additionalProperties", True) is False and set(value) - set(known):
            return False
        return all(is_valid(value[name], part) for name, part in known.items() if name in value)
    return True


STRING = {"type": "string"}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


PERSON = record(name=STRING, age={"type": "integer"}, city={"enum": ["Paris", "Rome", "New York City"]})

SCHEMAS: dict[str, dict[str, Any]] = {
    "record": PERSON,
    "nested": record(
        a=record(b=record(c={"type": "array", "items": {"type": "number"}, "minItems": 3})), z={"type": "boolean"}
    ),
    "array": {"type": "array", "items": {"type": "string", "minLength": 5, "maxLength": 9}, "minItems": 4},
    "number": {"type": "number"},
    "range": {"type": "number", "minimum": 0.25, "maximum": 0.5},
    "large integer": {"type": "integer", "minimum": 1_000_000},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 1},
    "patterns": record(
        id={"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
        file={"type": "string", "pattern": r"^.*\.pdf$"},
        mail={"type": "string", "pattern": r"^[a-z]+@[a-z]+\.com$"},
        any={"type": "string", "pattern": "x"},
    ),
    "formats": record(
        **{name: {"type": "string", "format": name} for name in ("date-time", "uuid", "email", "ipv4", "ipv6", "uri")}
    ),
    "long text": {"type": "string", "minLength": 200},
    "alternatives": {
        "oneOf": [
            record(kind={"const": "circle"}, r={"type": "number"}),
            record(kind={"const": "rectangle"}, w={"type": "number"}, h={"type": "number"}),
        ]
    },
    "a trap": {
        "type": "object",
        "properties": {
            "s": {"type": "string"},
            "large": {"type": "array", "items": record(**{f"p{i}": STRING for i in range(8)}), "minItems": 5},
        },
        "additionalProperties": False,
    },
    "recursive": {
        "$defs": {"node": record(v={"type": "integer"}, kids={"type": "array", "items": {"$ref": "#/$defs/node"}})},
        "$ref": "#/$defs/node",
        "type": "object",
    },
    "constant": {"const": {"a": [1, 'x"y\\z\n', None, True]}},
    "nullable": record(a={"anyOf": [{"type": "string", "minLength": 40}, {"type": "null"}]}),
    "anything": {},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_is_valid_and_inside_its_limit(bench: Bench, name: str) -> None:
    schema = SCHEMAS[name]
    least = bench.least("json_schema", schema)
    for seed in range(6):
        for limit in (least, least + 2, least + 20, least + 80):
            matcher = bench.matcher("json_schema", schema, limit)
            text, n = walk(bench, matcher, limit, seed, never_ends=seed % 2 == 1)
            assert n <= limit
            value = json.loads(text)
            assert is_valid(value, schema), text


def test_any_json_object(bench: Bench) -> None:
    for seed in range(12):
        text, _ = walk(bench, bench.matcher("json_object"), 2 + seed * 7, seed, never_ends=True)
        assert isinstance(json.loads(text), dict)


def test_a_limit_that_holds_no_answer_is_refused_at_once(bench: Bench) -> None:
    least = bench.least("json_schema", PERSON)
    with pytest.raises(InvalidConstraint, match=rf"max_tokens is too small.*{least} tokens"):
        bench.matcher("json_schema", PERSON, least - 1)
    text, n = walk(bench, bench.matcher("json_schema", PERSON, least), least, 1)
    assert n == least and json.loads(text)


def test_answers_are_free_until_the_limit_is_near(bench: Bench) -> None:
    """Landing changes nothing while there is room: the mask is that of the grammar."""
    free, limited = bench.matcher("json_schema", PERSON), bench.matcher("json_schema", PERSON, 200)
    tokens = bench.tokenizer.encode('{"name": "Ada Lovelace", "age": 36, "city": "Rome"}', False).tolist()
    for n, token in enumerate(tokens):
        assert (free.mask(10_000) == limited.mask(200 - n)).all()
        assert free.accept(token) == limited.accept(token) == token
    assert free.finished and limited.finished


def test_no_loop_in_white_space(bench: Bench) -> None:
    matcher = bench.matcher("json_schema", PERSON)
    for token in bench.tokenizer.encode('{"name": "A", ', False).tolist():
        matcher.accept(token)
    pieces = [bench.tokenizer.piece(int(token)) for token in bench.allowed(matcher.mask(100))]
    assert pieces and all(piece.strip() for piece in pieces)


def test_the_answer_may_end_exactly_where_the_constraint_may(bench: Bench) -> None:
    matcher = bench.matcher("json_schema", {"type": "integer"})
    eog = bench.tokenizer.eog
    assert not eog & set(bench.allowed(matcher.mask(50)).tolist())
    with pytest.raises(InternalError):
        bench.matcher("json_schema", {"type": "integer"}).accept(min(eog))
    (one,) = bench.tokenizer.encode("1", False).tolist()
    matcher.accept(one)
    assert not matcher.finished
    assert eog <= set(bench.allowed(matcher.mask(49)).tolist())
    assert matcher.accept(bench.tokenizer.eos) == bench.tokenizer.eos
    assert matcher.finished


def test_forced_tokens(bench: Bench) -> None:
    matcher = bench.matcher("json_schema", record(a_long_property_name={"type": "boolean"}))
    text = b""
    while not matcher.finished:
        forced = matcher.forced()
        if not forced:
            forced = [int(bench.allowed(matcher.mask(100))[0])]
        for token in forced:
            text += bench.tokenizer.piece(matcher.accept(token))
    assert json.loads(text)["a_long_property_name"] in (True, False)
    assert matcher.forced() == []


def test_matchers_of_one_constraint_do_not_touch_each_other(bench: Bench) -> None:
    first, second = bench.matcher("json_schema", PERSON), bench.matcher("json_schema", PERSON)
    before = second.mask(100).copy()
    first.accept(int(bench.allowed(first.mask(100))[0]))
    assert (second.mask(100) == before).all()
    first.close()
    assert (second.mask(100) == before).all()


@pytest.mark.parametrize(
    ("kind", "source", "pattern"),
    [
        ("regex", r"(yes|no|maybe), because [a-z ]{5,60}\.", None),
        ("regex", r"\d{3}-\d{4}", None),
        ("lark", 'start: "a" b+ "."\nb: " " /[a-z]{1,5}/', r"a( [a-z]{1,5})+\."),
        ("gbnf", 'root ::= "(" root ")" | [a-z]{1,9}', r"\(*[a-z]{1,9}\)*"),
        ("gbnf", 'root ::= ("yes" | "no") (", " [a-z]+)*', r"(yes|no)(, [a-z]+)*"),
    ],
)
def test_other_constraints(bench: Bench, kind: Any, source: str, pattern: str | None) -> None:
    for seed in range(6):
        matcher = bench.matcher(kind, source, 40)
        text, n = walk(bench, matcher, 40, seed, never_ends=seed % 2 == 1)
        assert n <= 40
        assert re.fullmatch(pattern or source, text), text


def test_brackets_of_a_recursive_grammar_are_closed_in_time(bench: Bench) -> None:
    matcher = bench.matcher("gbnf", 'root ::= "(" root ")" | [a-z]{1,9}', 30)
    (opening,) = bench.tokenizer.encode("(", False).tolist()
    text = b""
    n = 0
    while n < 30 and not matcher.finished:
        tokens = bench.allowed(matcher.mask(30 - n)).tolist()
        taken = matcher.accept(opening if opening in tokens else tokens[0])
        if taken in bench.tokenizer.eog:
            break
        text += bench.tokenizer.piece(taken)
        n += 1
    assert text.count(b"(") == text.count(b")") > 3


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("json_schema", {"type": "strin"}, "Invalid type"),
        ("json_schema", {"type": "string", "pattern": "("}, "unclosed"),
        ("json_schema", {"type": "string", "pattern": "(?<=x)a"}, "look"),
        ("json_schema", {"type": "array", "uniqueItems": True}, "uniqueItems"),
        ("json_schema", {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
        ("json_schema", {"$ref": "#"}, "no answer"),
        ("json_schema", {"$ref": "#/$defs/none"}, "does not exist"),
        ("json_schema", record(a={"$ref": "#"}), "that ends"),
        ("json_schema", {"type": "array", "minItems": 100_000_000}, "that ends"),
        ("regex", "(?=x)a", "look"),
        ("regex", "[^\\s\\S]", "no answer"),
        ("lark", "start: foo", "foo"),
        ("lark", "begin: /a/", "start"),
        ("gbnf", "root ::= foo", "foo"),
    ],
)
def test_what_cannot_be_used_is_explained(bench: Bench, kind: Any, source: Any, words: str) -> None:
    with pytest.raises(InvalidConstraint, match=words) as caught:
        bench.matcher(kind, source)
    assert caught.value.hint and len(caught.value.message) < 400
