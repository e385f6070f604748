"""What a request leaves the model no choice about: to call a tool, or to answer in a given form.

A call is forced by writing its beginning into the prompt, in the model's own way, and holding the rest to the schemas
of the tools. So the model is where it was trained to be, and the arguments are valid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fireside_engine.core.answers.formats import ChatFormat
from fireside_engine.core.request import Constraint


@dataclass(frozen=True, slots=True)
class Opening:
    """How an answer begins before the model writes anything."""

    prompt: str
    """Goes to the end of the prompt; control tokens in it are meant."""
    parser: str
    """What the parser of the answer is to see first."""


def end_of_prompt(form: ChatFormat, rendered: str) -> str:
    """The mark of thinking that a template left open at the end of the prompt, or ""."""
    tail = rendered.rstrip()
    return next((opener for opener, _ in form.think if tail.endswith(opener)), "")


def without_thinking(form: ChatFormat, left_open: str) -> str:
    """What leads past thinking to the answer itself."""
    if form.kind == "harmony":
        return "<|channel|>final<|message|>"
    closer = dict(form.think).get(left_open, "")
    return f"\n{closer}\n\n" if closer else ""


def forced_call(
    form: ChatFormat, tools: Sequence[Mapping[str, Any]], left_open: str, template: str
) -> tuple[Opening, Constraint]:
    """A call of one of `tools`, which are not empty."""
    functions = [tool["function"] for tool in tools]
    only = str(functions[0]["name"]) if len(functions) == 1 else None
    before = without_thinking(form, left_open) if form.kind != "harmony" else ""
    if form.kind == "harmony" and only is not None:
        start = f"<|channel|>commentary to=functions.{only} <|constrain|>json<|message|>"
        return Opening(start, start), _constraint(_arguments_schema(functions[0]))
    if form.kind == "mistral" and only is not None and "[ARGS]" in template:
        start = f"[TOOL_CALLS]{only}[ARGS]"
        return Opening(before + start, start), _constraint(_arguments_schema(functions[0]))
    if form.kind == "mistral":
        array = {"type": "array", "items": {}, "minItems": 1, "maxItems": 1}
        return Opening(before + "[TOOL_CALLS]", "[TOOL_CALLS]"), _constraint(_calls_schema(functions, array))
    key = "parameters" if form.kind == "llama3" else "arguments"
    if form.kind == "hermes":
        return Opening(f"{before}<tool_call>\n", "<tool_call>\n"), _constraint(_calls_schema(functions, None, key))
    return Opening(before, "<tool_call>"), _constraint(_calls_schema(functions, None, key))


def chosen(tools: Iterable[Mapping[str, Any]], choice: str) -> list[Mapping[str, Any]]:
    """The tools that a choice allows: "required" is any, otherwise the one of that name."""
    return [tool for tool in tools if choice == "" or tool.get("function", {}).get("name") == choice]


def _constraint(schema: Mapping[str, Any]) -> Constraint:
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False, separators=(",", ":")))


def _calls_schema(
    functions: Sequence[Mapping[str, Any]], array: Mapping[str, Any] | None, key: str = "arguments"
) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    calls = []
    for index, function in enumerate(functions):
        arguments = _moved(_arguments_schema(function), f"tool{index}_", definitions)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, key: arguments},
                "required": ["name", key],
                "additionalProperties": False,
            }
        )
    schema: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if array is not None:
        schema = {**array, "items": schema}
    return {**schema, "$defs": definitions} if definitions else schema


def _arguments_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters")
    if not isinstance(schema, Mapping) or not schema:
        return {"type": "object"}
    return {"type": "object", **{key: value for key, value in schema.items() if key != "$schema"}}


def _moved(schema: dict[str, Any], prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """`schema` as a part of a larger one: its definitions go to the top, under names that no other tool uses."""
    moved = dict(schema)
    for place in ("$defs", "definitions"):
        for name, definition in (moved.pop(place, None) or {}).items():
            definitions[f"{prefix}{place.strip('$')}_{name}"] = _renamed(definition, prefix)
    result = _renamed(moved, prefix)
    assert isinstance(result, dict)  # noqa: S101 - objects stay objects
    return result


def _renamed(node: Any, prefix: str) -> Any:
    if isinstance(node, dict):
        return {
            key: _reference(value, prefix) if key == "$ref" else _renamed(value, prefix) for key, value in node.items()
        }
    if isinstance(node, list):
        return [_renamed(item, prefix) for item in node]
    return node


def _reference(value: Any, prefix: str) -> Any:
    for place in ("$defs", "definitions"):
        if isinstance(value, str) and value.startswith(f"#/{place}/"):
            return f"#/$defs/{prefix}{place.strip('$')}_{value.removeprefix(f'#/{place}/')}"
    return value
