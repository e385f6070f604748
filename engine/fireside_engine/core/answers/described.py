"""Tools for models whose template knows of none: described in the system message, and called in the way of Hermes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fireside_engine.core.request import Message
from fireside_engine.core.strict_turns import Turns, tools_in_text


def knows_tools(template: str) -> bool:
    """A template that does not name the variable cannot show what is in it."""
    return "tools" in template


def with_tools_described(turns: Turns, tools: Sequence[Mapping[str, Any]]) -> Turns:
    """The turns, with the tools in the first system message, and calls and results as text."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    words = (
        f"You can call these tools, one JSON object on each line:\n<tools>\n{lines}\n</tools>\n"
        "To call one, answer with its name and arguments and nothing else:\n"
        '<tool_call>\n{"name": "NAME", "arguments": {…}}\n</tool_call>'
    )
    turns = tools_in_text(turns)
    if turns and turns[0].role == "system":
        first = replace(turns[0], content=f"{turns[0].content}\n\n{words}".strip())
        return (first, *turns[1:])
    return (Message("system", words), *turns)
