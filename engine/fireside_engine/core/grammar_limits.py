"""What a schema or grammar may be, checked before any compiler sees it.

Grammar compilers recurse over what they are given, and some numbers in a schema cost time in proportion to their value.
Each limit here is far above what honest grammars need, and below what makes the compiler crash, hang or fill memory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fireside_engine.errors import InvalidConstraint

MAX_SOURCE = 64 << 10
"""Characters of a schema or grammar."""
MAX_NESTING = 200
"""Brackets inside brackets, in grammars and regular expressions."""
MAX_SCHEMA_DEPTH = 32
"""Schemas inside schemas; each level takes two of JSON ("properties", then the property)."""
MAX_RULES = 2000
MAX_NODES = 20_000
"""Values of a schema, counted one by one."""
MAX_REPEAT = 10_000
"""A bound in `{m,n}`."""
MAX_EXPANSION = 100_000
"""Elements of a grammar with bounded repetitions written out."""
MAX_MULTIPLE = 10_000
"""Common multiple of all `multipleOf`, without its power of ten: a state machine has a state for each remainder."""
MAX_LITERAL = 4096
"""Characters of a string that must appear as it is."""

_HINT_SMALLER = "Make it smaller, or split the task into several requests."

# What is not closed counts as closed at the end, so that scanning never starts over: time stays linear.
_JSON_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_REGEX_TOKEN = re.compile(r"\\.|\{(?P<low>\d*)(?P<comma>,)?(?P<high>\d*)\}|.", re.DOTALL)
_LARK_TOKEN = re.compile(
    r"""
      //[^\n]* | \#[^\n]*
    | "(?:[^"\\\n]|\\.)*"?
    | /(?P<regex>(?:[^/\\\n]|\\.)+)/?
    | (?P<json>%json\b)
    | (?P<rule>^[ \t]*[?!]*\w[^:\n"/]*:)
    | (?P<open>[(\[]) | (?P<close>[)\]])
    | \{(?P<low>\d*)(?P<comma>,)?(?P<high>\d*)\}
    | ~\s*(?P<times>\d+)(?:\s*\.\.\s*(?P<most>\d+))?
    | [\w-]+
    """,
    re.MULTILINE | re.VERBOSE,
)


class _Expansion:
    """Counts elements as if bounded repetitions were written out, and brackets inside brackets."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._groups = [0]
        self._last = 0

    def element(self, size: int = 1) -> None:
        self._groups[-1] += size
        self._last = size
        if self._groups[-1] > MAX_EXPANSION:
            raise InvalidConstraint(
                f"The {self._what} has more than {MAX_EXPANSION} elements when its repetitions are written out.",
                hint="Use smaller bounds in {m,n}.",
            )

    def open(self) -> None:
        self._groups.append(0)
        if len(self._groups) > MAX_NESTING:
            raise InvalidConstraint(
                f"The {self._what} is nested deeper than {MAX_NESTING} brackets.", hint=_HINT_SMALLER
            )

    def close(self) -> None:
        # One bracket too many is the compiler's to explain.
        if len(self._groups) > 1:
            self.element(self._groups.pop() + 1)

    def repeat(self, low: str, high: str) -> None:
        times = max((_bound(text, self._what) for text in (low, high) if text), default=1)
        self.element(self._last * max(0, times - 1))


def _bound(digits: str, what: str) -> int:
    if len(digits) > 9 or int(digits) > MAX_REPEAT:
        raise InvalidConstraint(
            f"The {what} repeats something more than {MAX_REPEAT} times.", hint="Use smaller bounds."
        )
    return int(digits)


def check_size(source: str, what: str) -> None:
    if len(source) > MAX_SOURCE:
        words = f"The {what} has {len(source)} characters; at most {MAX_SOURCE} are accepted."
        raise InvalidConstraint(words, hint=_HINT_SMALLER)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in source):
        raise InvalidConstraint(f"The {what} is not valid Unicode.", hint="Remove lone surrogates.")


def check_regex(pattern: str, what: str = "regular expression") -> None:
    """Raises InvalidConstraint where a regular expression is too large, too deep, or repeats too much."""
    check_size(pattern, what)
    expansion = _Expansion(what)
    in_class = 0
    for token in _REGEX_TOKEN.finditer(pattern):
        text = token.group()
        if text == "[":
            in_class += 1
            expansion.open()
        elif text == "]" and in_class:
            in_class -= 1
            expansion.close()
        elif text == "(" and not in_class:
            expansion.open()
        elif text == ")" and not in_class:
            expansion.close()
        elif token["low"] is not None and not in_class and (token["low"] or token["high"]):
            expansion.repeat(token["low"], token["high"])
        elif not in_class:
            expansion.element()


def check_lark(source: str) -> None:
    """Raises InvalidConstraint where a Lark grammar passes a limit; syntax is the compiler's business."""
    check_size(source, "grammar")
    expansion = _Expansion("grammar")
    rules = position = 0
    while token := _LARK_TOKEN.search(source, position):
        position = token.end()
        if token["regex"] is not None:
            check_regex(token["regex"], "regular expression in the grammar")
            expansion.element()
        elif token["json"] is not None:
            position = _skip_schema(source, position)
        elif token["rule"] is not None:
            rules += 1
        elif token["open"] is not None:
            expansion.open()
        elif token["close"] is not None:
            expansion.close()
        elif token["low"] is not None or token["times"] is not None:
            expansion.repeat(token["low"] or token["times"] or "", token["high"] or token["most"] or "")
        else:
            expansion.element()
    if rules > MAX_RULES:
        raise InvalidConstraint(f"The grammar has {rules} rules; at most {MAX_RULES} are accepted.", hint=_HINT_SMALLER)


def _skip_schema(source: str, position: int) -> int:
    """Check the schema after `%json`; returns where it ends."""
    start = source.find("{", position)
    if start < 0:
        return position
    _check_nesting(source[start:])
    try:
        schema, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(source, start)
    except (ValueError, RecursionError):
        # The grammar's own JSON may have comments; the compiler explains what it does not understand.
        raise InvalidConstraint("A %json block of the grammar is not valid JSON.", hint="Check its brackets.") from None
    check_schema(schema)
    return end


# --- JSON schema


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """What was learned about a schema while it was checked."""

    patterns: tuple[str, ...]
    """Regular expressions that strings or keys must match."""
    formats: tuple[str, ...]
    """Names of string formats."""


def parse_schema(source: str) -> tuple[dict[str, Any], SchemaFacts]:
    """A schema from JSON text, checked. `true` is the schema that allows everything."""
    check_size(source, "schema")
    _check_nesting(source)
    try:
        schema = json.loads(source, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidConstraint(f"The schema is not valid JSON{place}.", hint="Check quotes and brackets.") from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise InvalidConstraint("The schema is not a JSON object.", hint='A schema looks like {"type": "object", …}.')
    # The compiler's own options would undo the limits on white space.
    schema.pop("x-guidance", None)
    return schema, check_schema(schema)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_nesting(source: str) -> None:
    depth = 0
    for token in _JSON_BRACKET.finditer(source):
        text = token.group()
        depth += (text in "[{") - (text in "]}")
        if depth > 2 * MAX_SCHEMA_DEPTH:
            words = f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} schemas."
            raise InvalidConstraint(words, hint='Use "$defs" and "$ref" for inner parts.')


def check_schema(schema: Any) -> SchemaFacts:
    """Raises InvalidConstraint where a parsed schema passes a limit or refers to something outside of itself."""
    patterns: list[str] = []
    formats: list[str] = []
    multiple = 1
    for keyword, value in _keywords(schema):
        if keyword in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
            raise InvalidConstraint(
                f"The schema refers to something outside of itself: {value[:100]}.",
                hint='Put the other schema under "$defs" and refer to it as "#/$defs/NAME".',
            )
        if keyword == "pattern" and isinstance(value, str):
            patterns.append(value)
        elif keyword == "patternProperties" and isinstance(value, dict):
            patterns.extend(value)
        elif keyword == "format" and isinstance(value, str):
            formats.append(value)
        elif keyword == "multipleOf":
            multiple = _common_multiple(multiple, value)
        elif keyword in ("const", "enum"):
            _check_literals(value)
        elif keyword in ("properties", "required"):
            _check_literals(list(value) if isinstance(value, dict | list) else [])
    for pattern in patterns:
        check_regex(pattern, "pattern in the schema")
    return SchemaFacts(tuple(patterns), tuple(formats))


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of every object in a schema.

    Names of properties come along as if they were keywords: a property may be named "pattern", but its value is then a
    schema, not a string. Data is looked into as well, because a "$ref" may point into it.
    """
    waiting = [schema]
    nodes = 0
    while waiting:
        node = waiting.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise InvalidConstraint(f"The schema has more than {MAX_NODES} parts.", hint=_HINT_SMALLER)
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                yield key, value
                waiting.append(value)


def _common_multiple(known: int, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return known  # a property of that name, or nonsense that the compiler explains
    digits = Decimal(str(value)).normalize().as_tuple().digits
    multiple = math.lcm(known, int("".join(map(str, digits))))
    if multiple > MAX_MULTIPLE:
        words = f'The schema\'s "multipleOf" is too fine: it has more than {MAX_MULTIPLE} remainders.'
        raise InvalidConstraint(words, hint="Use a rounder number, or check the value afterwards.")
    return multiple


def _check_literals(value: Any) -> None:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str) and len(node) > MAX_LITERAL:
            words = f"The schema has a fixed text of {len(node)} characters; at most {MAX_LITERAL} are accepted."
            raise InvalidConstraint(words, hint=_HINT_SMALLER)
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend((*node.keys(), *node.values()))
