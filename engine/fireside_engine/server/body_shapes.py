"""What validators take besides the types of their fields, as schemas for the OpenAPI document."""

from __future__ import annotations

from pydantic import WithJsonSchema

ANYTHING = WithJsonSchema({})
_PART = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
            "required": ["type", "text"],
        },
    ]
}
CONTENT = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]})
_TEXT = {"type": "string", "maxLength": 1024}
STOP = WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 32}, {"type": "null"}]})
BIASES = WithJsonSchema(
    {
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {"pattern": "^[0-9]{1,9}$"},
                "additionalProperties": {"type": "number"},
                "maxProperties": 4096,
            },
            {"type": "null"},
        ]
    }
)
DURATION = WithJsonSchema(
    {
        "anyOf": [
            {"type": "number", "exclusiveMaximum": 1e9},
            {"type": "string", "pattern": "^-?[0-9]{1,4}(ms|s|m|h)?$"},
            {"type": "null"},
        ]
    }
)
"""Seconds, or a text like 5m."""

_BIAS = {"anyOf": [{"type": "number"}, {"const": False}]}
_TOKEN_OR_TEXT = {"anyOf": [{"type": "integer", "minimum": 0, "exclusiveMaximum": 2**31}, {"type": "string"}]}
_PAIR = {"type": "array", "prefixItems": [_TOKEN_OR_TEXT, _BIAS], "items": False, "minItems": 2}
PAIRS = WithJsonSchema(
    {
        "anyOf": [
            {"type": "array", "items": _PAIR, "maxItems": 4096},
            {"type": "object", "additionalProperties": _BIAS, "maxProperties": 4096},
            {"type": "null"},
        ]
    }
)

SIZE = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,6}(MB|GB)$"}]}
)
"""Bytes, or a text like 20GB."""
