"""JSON in an answer: found, compared, held against a schema. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from fireside.code import code_blocks
from fireside.wire import JsonObject

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


class Found(NamedTuple):
    value: Any


def find_json(answer: str) -> Found | None:
    """The whole answer as JSON, else that of its first fenced block, else the first object or array in its text."""
    blocks = code_blocks(answer)
    for text in [answer, *(block.text for block in blocks)]:
        try:
            return Found(json.loads(text))
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder()
    for at, char in enumerate(answer):
        if char in "[{":
            try:
                return Found(decoder.raw_decode(answer, at)[0])
            except (ValueError, RecursionError):
                continue
    return None


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same to a reader: numbers by value, texts without case and runs of spaces."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.split()).casefold() == " ".join(b.split()).casefold()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    return a is None and b is None


def violation(value: Any, schema: JsonObject, path: str = "it") -> str:
    """What of the schema a value does not fit, in words; empty if it fits.

    The part of JSON Schema that answers are asked in: type, enum, const, properties, required, additionalProperties,
    items, their numbers, minimum and maximum, anyOf. Other words are not looked at.
    """
    for words in _simple_violations(value, schema, path):
        return words
    if options := schema.get("anyOf"):
        fits = any(not violation(value, option, path) for option in options)
        if not fits:
            return f"{path} fits none of the alternatives"
    if isinstance(value, dict):
        return _object_violation(value, schema, path)
    if isinstance(value, list):
        return _array_violation(value, schema, path)
    return ""


def _simple_violations(value: Any, schema: JsonObject, path: str) -> list[str]:
    found = []
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if names and not any(_is(value, name) for name in names):
        found.append(f"{path} is no {' or '.join(names)}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is none of the allowed values")
    if "const" in schema and value != schema["const"]:
        found.append(f"{path} is not the required value")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            found.append(f"{path} is below {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            found.append(f"{path} is above {schema['maximum']}")
    return found


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _object_violation(value: dict[str, Any], schema: JsonObject, path: str) -> str:
    known = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in value:
            return f"{path} lacks {name}"
    for name, part in value.items():
        if name in known:
            words = violation(part, known[name], f"{path}.{name}")
        elif schema.get("additionalProperties") is False:
            words = f"{path} has {name}, which the schema does not know"
        else:
            words = ""
        if words:
            return words
    return ""


def _array_violation(value: list[Any], schema: JsonObject, path: str) -> str:
    if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
        return f"{path} has {len(value)} items"
    items = schema.get("items")
    if isinstance(items, dict):
        for at, part in enumerate(value):
            if words := violation(part, items, f"{path}[{at}]"):
                return words
    return ""
