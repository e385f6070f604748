"""From a body of OpenAI's responses API to the engine's own request. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fireside_engine import errors
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams
from fireside_engine.server.call import Call, RouteWish
from fireside_engine.server.openai_request import drawn_seed, json_schema
from fireside_engine.server.responses_schema import ResponsesBody
from fireside_engine.server.tools import Definition, arguments_of, forced, functions, schemas_of


@dataclass(frozen=True, slots=True)
class ResponsesCall(Call):
    body: ResponsesBody = field(default_factory=lambda: ResponsesBody.model_validate({}))
    messages: tuple[Message, ...] = ()
    """The conversation without instructions, for the response that follows this one."""


def responses_call(body: ResponsesBody, before: tuple[Message, ...]) -> ResponsesCall:
    """before: the conversation that `previous_response_id` names. Raises InvalidRequest."""
    if body.background:
        raise errors.InvalidRequest("background: answers are given while the client waits.", param="background")
    identity = f"resp_{secrets.token_hex(16)}"
    tools = () if body.tool_choice == "none" else functions(body.tools)
    messages = (*before, *turns_of(body.input))
    instructions = (Message("system", body.instructions),) if body.instructions else ()
    arguments: dict[str, Any] = {}
    if body.reasoning is not None and body.reasoning.effort is not None:
        arguments["reasoning_effort"] = body.reasoning.effort
        arguments["enable_thinking"] = body.reasoning.effort != "none"
    names = forced(body.tool_choice, tools)
    extension = body.fireside
    request = Request(
        id=identity,
        prompt=ChatPrompt((*instructions, *messages), tools, names, arguments),
        sampling=_sampling(body),
        max_tokens=body.max_output_tokens,
        constraint=_constraint(body, names),
        conversation=(extension.conversation or "") if extension else "",
        save=extension is None or extension.save is not False,
        speculate=extension is None or extension.speculate not in (False, "off"),
    )
    return ResponsesCall(
        id=identity,
        model=body.model or "",
        requests=(request,),
        stream=bool(body.stream),
        deterministic=extension.deterministic if extension else None,
        draft=extension.draft if extension else None,
        route=extension.route_wish if extension else RouteWish(),
        tools=schemas_of(tools),
        parallel=body.parallel_tool_calls is not False,
        body=body,
        messages=messages,
    )


def _sampling(body: ResponsesBody) -> SamplingParams:
    usual = SamplingParams()
    return replace(
        usual,
        temperature=usual.temperature if body.temperature is None else body.temperature,
        top_p=usual.top_p if body.top_p is None else max(1e-6, body.top_p),
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        seed=drawn_seed(None),
    )


def _constraint(body: ResponsesBody, forced_names: Sequence[str]) -> Constraint | None:
    wanted = body.text.format if body.text is not None else None
    if wanted is None or wanted.type == "text" or forced_names:
        return None
    if wanted.type == "json_object":
        return Constraint("json_object")
    if wanted.type == "json_schema" and wanted.schema_ is not None:
        return json_schema(wanted.schema_)
    raise errors.InvalidRequest("text.format: must be text, json_object, or json_schema with a schema.", param="text")


def turns_of(given: str | list[dict[str, Any]] | None) -> list[Message]:
    """Input as turns: calls that follow each other are one turn, as are thinking and what was said after it."""
    if not isinstance(given, list):
        return [Message("user", given or "")]
    turns: list[Message] = []
    for index, item in enumerate(given):
        kind = item.get("type", "message")
        if kind == "message":
            turns.append(_message(index, item))
        elif kind == "function_call":
            turns.append(Message("assistant", tool_calls=(_call(item),)))
        elif kind == "function_call_output":
            turns.append(Message("tool", _text(index, item.get("output")), tool_call_id=_word(item.get("call_id"))))
        elif kind == "reasoning":
            turns.append(Message("assistant", reasoning=_thought(item)))
    # A template needs a turn; no items are as good as no words.
    return _joined(turns) or [Message("user", "")]


def _joined(turns: list[Message]) -> list[Message]:
    """What one answer said stands in several items; for a template it is one turn."""
    joined: list[Message] = []
    for turn in turns:
        last = joined[-1] if joined else None
        is_open = last is not None and last.role == "assistant" == turn.role
        if last is None or not is_open or (turn.content and (last.content or last.tool_calls)):
            joined.append(turn)
            continue
        thoughts = "\n".join(text for text in (last.reasoning, turn.reasoning) if text)
        calls = last.tool_calls + turn.tool_calls
        joined[-1] = replace(last, content=last.content + turn.content, reasoning=thoughts, tool_calls=calls)
    return [turn for turn in joined if turn.role != "assistant" or turn.content or turn.tool_calls]


def _message(index: int, item: Mapping[str, Any]) -> Message:
    role = {"developer": "system"}.get(str(item.get("role")), item.get("role", "user"))
    if role not in ("system", "user", "assistant"):
        raise errors.InvalidRequest(
            f"input[{index}].role: must be user, assistant, system or developer.", param="input"
        )
    return Message(role, _text(index, item.get("content")))


def _text(index: int, content: object) -> str:
    if not isinstance(content, list):
        return _word(content)
    texts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise errors.InvalidRequest(f"input[{index}].content: parts must be objects.", param="input")
        if part.get("type") in ("input_image", "input_file", "input_audio"):
            raise errors.InvalidRequest(f"input[{index}].content: only text can be read.", param="input")
        texts.append(_word(part.get("text", part.get("refusal"))))
    return "\n".join(texts)


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": _word(item.get("name")), "arguments": arguments_of(item.get("arguments"))}
    return {"id": _word(item.get("call_id")), "type": "function", "function": function}


def _thought(item: Mapping[str, Any]) -> str:
    given = (item.get("summary"), item.get("content"))
    parts = [part for each in given if isinstance(each, list) for part in each]
    return "\n".join(_word(part.get("text")) for part in parts if isinstance(part, Mapping))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def shown_tools(tools: Sequence[Definition]) -> list[dict[str, Any]]:
    """Functions in the flat shape of this API."""
    return [{"type": "function", "strict": False, "description": None, **tool["function"]} for tool in tools]
