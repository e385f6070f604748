"""A JSON schema in a few words: `name, age:int, mood:good|bad, tags:str[], email:str?`. Pure.

Fields are separated by commas; after a colon comes the type, text unless it says otherwise. A question mark lets a
field be missing, brackets make a list, bars list the values that are allowed.
"""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "text": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "number": {"type": "number"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "any": {},
}
_FIELD = re.compile(r"\s*(?P<name>[^\s:,?|\[\]{}]+)\s*(?P<early>\?)?\s*(?::\s*(?P<kind>[^,]*?))?\s*")


def looks_like_one(text: str) -> bool:
    """Whether it may be one, and is no name of a file."""
    return (":" in text or "," in text) and not text.lstrip().startswith(("{", "[", "/", "."))


def parse(text: str) -> dict[str, Any]:
    """The schema of an object. Raises ValueError with words for the user."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in text.split(","):
        field = _FIELD.fullmatch(part)
        if field is None:
            raise ValueError(f"“{part.strip()}” is no field; write name or name:type")
        name, kind = field["name"], (field["kind"] or "str").strip()
        if name in properties:
            raise ValueError(f"the field {name} stands there twice")
        optional = bool(field["early"]) or kind.endswith("?")
        properties[name] = _type(kind.removesuffix("?").strip(), name)
        if not optional:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def many(schema: object) -> dict[str, Any]:
    """A list of what a schema describes; under a key, because small models keep to objects better."""
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": schema}},
        "required": ["items"],
        "additionalProperties": False,
    }


def _type(kind: str, name: str) -> dict[str, Any]:
    if kind.endswith("[]"):
        return {"type": "array", "items": _type(kind[:-2].strip(), name)}
    if "|" in kind:
        values = [value.strip() for value in kind.split("|")]
        if not all(values):
            raise ValueError(f"the field {name} has an empty value between its bars")
        return {"enum": values}
    if kind.lower() not in TYPES:
        raise ValueError(f"the field {name} has the unknown type “{kind}”; there are {', '.join(TYPES)}")
    return dict(TYPES[kind.lower()])
