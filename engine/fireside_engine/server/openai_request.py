"""From a chat body of OpenAI's dialect to the engine's own Request. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from fireside_engine import errors
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, Role, SamplingParams
from fireside_engine.server.call import Call, RouteWish
from fireside_engine.server.openai_schema import ChatBody, ChatMessage, GenerationBody, ToolCall, parse
from fireside_engine.server.tools import Definition, arguments_of, forced, functions, schemas_of

T = TypeVar("T")

SEED_BITS = 53
"""A seed that we draw must come back unchanged from clients whose JSON knows only doubles."""
_U64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class ChatCall(Call):
    """One call, understood. Of several choices only the seeds differ."""

    include_usage: bool = False


def chat_call(body: bytes) -> ChatCall:
    """Raises InvalidRequest, InvalidConstraint."""
    chat = parse(ChatBody, body)
    identity = f"chatcmpl-{secrets.token_hex(12)}"
    extension = chat.fireside
    first = Request(
        id=identity,
        prompt=template_prompt(chat),
        sampling=sampling(chat, chat.biases, (chat.top_logprobs or 0) if chat.logprobs else None),
        max_tokens=first_limit(chat.max_completion_tokens, chat.max_tokens, chat.n_predict),
        stop=tuple(text for text in chat.stop or () if text),
        constraint=_constraint(chat),
        ignore_eos=bool(chat.ignore_eos),
        conversation=(extension.conversation or "") if extension else "",
        save=extension is None or extension.save is not False,
        report=extension is not None and extension.report is True,
        draft_runs=extension is not None and extension.draft_runs is True,
        speculate=extension is None or extension.speculate not in (False, "off"),
    )
    return ChatCall(
        id=identity,
        model=chat.model or "",
        requests=tuple(several(first, chat.n or 1)),
        stream=bool(chat.stream),
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        return_progress=bool(chat.return_progress),
        timings_per_token=bool(chat.timings_per_token),
        deterministic=extension.deterministic if extension else None,
        draft=extension.draft if extension else None,
        route=extension.route_wish if extension else RouteWish(),
        keep_alive=chat.keep_alive,
        tools=schemas_of(_tools(chat)),
        thinks=chat.reasoning_format != "none",
        parallel=chat.parallel_tool_calls is not False,
    )


def several(first: Request, n: int) -> Iterator[Request]:
    """The same request `n` times, with seeds that follow each other."""
    yield first
    for index in range(1, n):
        seed = (first.sampling.seed + index) & _U64
        yield replace(first, id=f"{first.id}-{index}", sampling=replace(first.sampling, seed=seed))


def template_prompt(chat: ChatBody) -> ChatPrompt:
    """Raises InvalidRequest."""
    if chat.functions:
        raise errors.InvalidRequest("functions: tools are given as `tools` here.", param="functions")
    if chat.continue_final_message:
        raise errors.InvalidRequest(
            "continue_final_message: answers begin a new turn here; they cannot continue the last one.",
            param="continue_final_message",
        )
    arguments = dict(chat.chat_template_kwargs or {})
    if chat.reasoning_effort is not None:
        arguments.setdefault("reasoning_effort", chat.reasoning_effort)
    tools = _tools(chat)
    return ChatPrompt(
        messages=tuple(_message(message) for message in chat.messages),
        tools=tools,
        forced_tools=forced(chat.tool_choice, tools),
        template_args=arguments,
        add_generation_prompt=chat.add_generation_prompt is not False,
    )


def _tools(chat: ChatBody) -> tuple[Definition, ...]:
    return () if chat.tool_choice == "none" else functions(chat.tools)


def _message(message: ChatMessage) -> Message:
    role = {"developer": "system", "function": "tool"}.get(message.role, message.role)
    return Message(
        role=cast(Role, role),
        content=message.content or "",
        reasoning=message.reasoning_content or message.reasoning or "",
        name=message.name,
        tool_calls=tuple(_tool_call(call) for call in message.tool_calls or ()),
        tool_call_id=message.tool_call_id,
    )


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": arguments_of(call.function.arguments)},
    }


def sampling(body: GenerationBody, biases: tuple[tuple[int, float], ...], logprobs: int | None) -> SamplingParams:
    usual = SamplingParams()
    return SamplingParams(
        temperature=_or(body.temperature, usual.temperature),
        top_k=max(0, _or(body.top_k, usual.top_k)),
        # 0 keeps only the likeliest token, in every dialect that has it.
        top_p=max(1e-6, _or(body.top_p, usual.top_p)),
        min_p=_or(body.min_p, usual.min_p),
        top_n_sigma=max(0.0, _or(body.top_n_sigma, usual.top_n_sigma)),
        repeat_penalty=_or(body.repeat_penalty, usual.repeat_penalty),
        presence_penalty=_or(body.presence_penalty, usual.presence_penalty),
        frequency_penalty=_or(body.frequency_penalty, usual.frequency_penalty),
        penalty_last_n=_or(body.repeat_last_n, usual.penalty_last_n),
        logit_bias=biases,
        seed=drawn_seed(body.seed),
        logprobs=logprobs,
    )


def _or(given: T | None, usual: T) -> T:
    return usual if given is None else given


def drawn_seed(seed: int | None) -> int:
    """None and -1, llama-server's word for it, draw one."""
    if seed is None or seed == -1:
        return secrets.randbits(SEED_BITS)
    return seed & _U64


def first_limit(*limits: int | None) -> int | None:
    """The first that is given; below 0 is no limit."""
    for limit in limits:
        if limit is not None:
            return None if limit < 0 else limit
    return None


def _constraint(chat: ChatBody) -> Constraint | None:
    found = list(_constraints(chat))
    if forced(chat.tool_choice, _tools(chat)):
        # The worker makes one from the schemas of the tools, in the way in which the model writes calls.
        found.insert(0, ("tool_choice", Constraint("json_object")))
        if len(found) == 1:
            return None
    return only(found)


def _constraints(chat: ChatBody) -> Iterator[tuple[str, Constraint]]:
    wanted = chat.response_format
    if wanted is not None and wanted.type != "text":
        schema = wanted.schema_ if wanted.json_schema is None else wanted.json_schema.schema_
        if schema is not None:
            yield "response_format", json_schema(schema)
        elif wanted.type == "json_object":
            yield "response_format", Constraint("json_object")
        else:
            message = "response_format.json_schema.schema: is missing."
            raise errors.InvalidRequest(message, param="response_format.json_schema.schema")
    yield from constraints(chat)


def constraints(body: GenerationBody) -> Iterator[tuple[str, Constraint]]:
    """Those that have a field of their own in every way to generate."""
    if body.json_schema is not None:
        yield "json_schema", json_schema(body.json_schema)
    if body.grammar:
        yield "grammar", Constraint("gbnf", body.grammar)
    if body.fireside is not None and body.fireside.regex:
        yield "fireside.regex", Constraint("regex", body.fireside.regex)
    if body.fireside is not None and body.fireside.lark:
        yield "fireside.lark", Constraint("lark", body.fireside.lark)


def only(found: list[tuple[str, Constraint]]) -> Constraint | None:
    """Raises InvalidRequest for several."""
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise errors.InvalidRequest(f"Only one of {names} can decide what the answer looks like.")
    return found[0][1] if found else None


def json_schema(schema: dict[str, Any]) -> Constraint:
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False, separators=(",", ":")))
