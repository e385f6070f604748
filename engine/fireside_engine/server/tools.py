"""Tools as clients define them, and what a choice makes of them. The same for every dialect that has OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from fireside_engine import errors

Definition = dict[str, Any]


def functions(tools: Sequence[Mapping[str, Any]] | None) -> tuple[Definition, ...]:
    """The functions among `tools`, `{"type": "function", "function": {"name", "description", "parameters"}}`.

    Also in the flat shape of the responses API, and out of namespaces. What is no function (a search, a shell of the
    vendor's) cannot be called here, so the model is not told of it. Raises InvalidRequest for a function without name.
    """
    found: list[Definition] = []
    for index, tool in enumerate(tools or ()):
        if tool.get("type") == "namespace" and isinstance(inner := tool.get("tools"), list):
            found += functions([each for each in inner if isinstance(each, Mapping)])
        elif tool.get("type", "function") == "function":
            found.append(_function(index, tool))
    return tuple(found)


def _function(index: int, tool: Mapping[str, Any]) -> Definition:
    inner = tool.get("function", tool)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
        param = f"tools[{index}].function.name"
        raise errors.InvalidRequest(f"{param}: must be a name of 1 to {_LONGEST_NAME} characters.", param=param)
    function: Definition = {"name": name}
    if isinstance(inner.get("description"), str):
        function["description"] = inner["description"]
    parameters = inner.get("parameters")
    function["parameters"] = (
        dict(parameters) if isinstance(parameters, Mapping) else {"type": "object", "properties": {}}
    )
    return {"type": "function", "function": function}


_LONGEST_NAME = 256


def schemas_of(tools: Sequence[Definition]) -> dict[str, Mapping[str, Any]]:
    """Name to the schema of the arguments."""
    return {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}


def forced(choice: object, tools: Sequence[Definition]) -> tuple[str, ...]:
    """Names of which one must be called; empty where the model is free. Raises InvalidRequest."""
    names = tuple(tool["function"]["name"] for tool in tools)
    if choice is None or choice in ("auto", "none"):
        return ()
    if choice in ("required", "any"):
        if not names:
            raise errors.InvalidRequest("tool_choice: no tool is there to be called.", param="tool_choice")
        return names
    if isinstance(choice, Mapping):
        return _named(choice, names)
    raise errors.InvalidRequest("tool_choice: must be auto, none, required, or name a function.", param="tool_choice")


def _named(choice: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    if choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        allowed = inner.get("tools") if isinstance(inner, Mapping) else None
        wanted = {_name(tool) for tool in (allowed if isinstance(allowed, list) else ()) if isinstance(tool, Mapping)}
        found = tuple(name for name in names if name in wanted)
        return found if isinstance(inner, Mapping) and inner.get("mode") == "required" else ()
    if choice.get("type") in ("auto", "none"):
        return ()
    if choice.get("type") in ("required", "any"):
        return forced("required", [{"function": {"name": name}} for name in names])
    name = _name(choice)
    if name not in names:
        raise errors.InvalidRequest("tool_choice: the request has no tool of that name.", param="tool_choice")
    return (name,)


def _name(tool: Mapping[str, Any]) -> str:
    inner = tool.get("function")
    name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
    return name if isinstance(name, str) else ""


def arguments_of(given: object) -> object:
    """Arguments of a call in a conversation, as templates want them: parsed, where they are JSON.

    A model wrote them, so they may be anything: what is no JSON, or nested without sense, stays the text that it is.
    """
    if given is None:
        return {}
    if not isinstance(given, str):
        return given
    try:
        return pydantic_core.from_json(given, allow_inf_nan=False)
    except ValueError:
        return given
