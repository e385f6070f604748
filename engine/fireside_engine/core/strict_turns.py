"""Turns as chat templates want them: plain dictionaries, and milder and harsher rewritings for strict templates.

Many templates raise on what clients really send: two user turns in a row, a system message in the middle, tool
results. The turns are then rewritten, as little as makes the template content. `rewritings` lists the ways, mildest
first; nothing is rewritten that the template accepts as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fireside_engine.core.request import Message

Turns = tuple[Message, ...]
TurnDict = dict[str, Any]

_JOINT = "\n\n"


def turn_dicts(turns: Sequence[Message], *, arguments_as_text: bool = False) -> list[TurnDict]:
    """The turns as transformers' `apply_chat_template` hands them over: members that are empty are absent, not null.

    `content` is always a string. Arguments of tool calls are objects; `arguments_as_text` gives them as JSON text.
    """
    return [_turn_dict(turn, arguments_as_text) for turn in turns]


def _turn_dict(turn: Message, arguments_as_text: bool) -> TurnDict:
    data: TurnDict = {"role": turn.role, "content": turn.content}
    if turn.reasoning:
        data["reasoning_content"] = turn.reasoning
    if turn.name is not None:
        data["name"] = turn.name
    if turn.tool_calls:
        data["tool_calls"] = [_call_dict(call, arguments_as_text) for call in turn.tool_calls]
    if turn.tool_call_id is not None:
        data["tool_call_id"] = turn.tool_call_id
    return data


def _call_dict(call: dict[str, Any], arguments_as_text: bool) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or "arguments" not in function:
        return dict(call)
    arguments = function["arguments"]
    if arguments_as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def merge_neighbours(turns: Turns) -> Turns:
    """Consecutive turns of one role become one. Tool results stay apart: each answers its own call."""
    merged: list[Message] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role and turn.role != "tool":
            merged[-1] = _join(merged[-1], turn)
        else:
            merged.append(turn)
    return tuple(merged)


def _join(first: Message, second: Message) -> Message:
    return replace(
        first,
        content=_JOINT.join(text for text in (first.content, second.content) if text),
        reasoning=_JOINT.join(text for text in (first.reasoning, second.reasoning) if text),
        tool_calls=first.tool_calls + second.tool_calls,
    )


def system_first(turns: Turns) -> Turns:
    """System messages after the first other turn become part of the conversation, as user turns where they stand.

    They keep their place, because moving them to the front would change the beginning of the prompt, which is what the
    KV cache lives of.
    """
    opening = 0
    while opening < len(turns) and turns[opening].role == "system":
        opening += 1
    late = (replace(turn, role="user") if turn.role == "system" else turn for turn in turns[opening:])
    return merge_neighbours(turns[:opening] + tuple(late))


def system_in_user(turns: Turns) -> Turns:
    """No system role at all: what it says opens the first user turn."""
    turns = system_first(turns)
    if not turns or turns[0].role != "system":
        return turns
    return merge_neighbours((replace(turns[0], role="user"), *turns[1:]))


def tools_in_text(turns: Turns) -> Turns:
    """No tool roles: calls become text of the assistant, results become text of the user."""
    return merge_neighbours(tuple(_without_tools(turn) for turn in turns))


def _without_tools(turn: Message) -> Message:
    if turn.role == "tool":
        name = f" name={json.dumps(turn.name, ensure_ascii=False)}" if turn.name else ""
        return Message("user", f"<tool_response{name}>\n{turn.content}\n</tool_response>")
    if turn.tool_calls:
        calls = (json.dumps(call.get("function", call), ensure_ascii=False) for call in turn.tool_calls)
        text = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
        return replace(turn, content="\n".join(part for part in (turn.content, text) if part), tool_calls=())
    return turn


def user_first(turns: Turns) -> Turns:
    """A conversation that the assistant opens gets an empty user turn before it."""
    opening = 1 if turns and turns[0].role == "system" else 0
    if opening < len(turns) and turns[opening].role == "assistant":
        return (*turns[:opening], Message("user"), *turns[opening:])
    return turns


_STEPS: tuple[Callable[[Turns], Turns], ...] = (
    merge_neighbours,
    system_first,
    system_in_user,
    lambda turns: tools_in_text(system_first(turns)),
    lambda turns: tools_in_text(system_in_user(turns)),
    lambda turns: user_first(tools_in_text(system_first(turns))),
    lambda turns: user_first(tools_in_text(system_in_user(turns))),
)


def rewritings(turns: Turns) -> Iterator[list[TurnDict]]:
    """What to give a template that raised on `turns`, mildest first, each different from those before and from `turns`.

    1. tool call arguments as text; 2. neighbours of one role joined; 3. late system messages as user turns; 4. the
    system message inside the first user turn; 5. tool calls and results as text; 6. an empty user turn at the front.
    From 2 on each comes with arguments as objects, then as text.
    """
    seen = [turn_dicts(turns)]
    for step in (lambda same: same, *_STEPS):
        rewritten = step(turns)
        for as_text in (False, True):
            offer = turn_dicts(rewritten, arguments_as_text=as_text)
            if offer not in seen:
                seen.append(offer)
                yield offer


def system_was_dropped(turns: Turns, rendered: str) -> bool:
    """The template ignores system messages: it rendered, but what one of them says is not in the result."""
    return any(turn.role == "system" and turn.content.strip() not in rendered for turn in turns)


def keeping_system(turns: Turns) -> Iterator[list[TurnDict]]:
    """What to give a template that dropped a system message, mildest first."""
    original = turn_dicts(turns)
    for step in (system_first, system_in_user):
        offer = turn_dicts(step(turns))
        if offer != original:
            yield offer
