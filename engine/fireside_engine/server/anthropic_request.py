"""From a body of Anthropic's messages API to the engine's own request. Pure.

What changes with every request of an agent is left out before the prompt is made: marks for caches, and what
`core/moving.py` knows.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fireside_engine import errors
from fireside_engine.core.moving import steady_text
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams
from fireside_engine.server.anthropic_schema import MessagesBody, Turn
from fireside_engine.server.call import Call, RouteWish
from fireside_engine.server.openai_request import drawn_seed
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.tools import Definition, forced, functions, schemas_of


@dataclass(frozen=True, slots=True)
class MessagesCall(Call):
    stops: tuple[str, ...] = ()
    shows_thinking: bool = False


def messages_call(body: bytes) -> MessagesCall:
    """Raises InvalidRequest."""
    wanted = parse(MessagesBody, body)
    identity = f"msg_{secrets.token_hex(12)}"
    prompt = prompt_of(wanted)
    usual = SamplingParams()
    extension = wanted.fireside
    stops = tuple(text for text in wanted.stop_sequences or () if text)
    request = Request(
        id=identity,
        prompt=prompt,
        sampling=SamplingParams(
            temperature=usual.temperature if wanted.temperature is None else wanted.temperature,
            top_k=usual.top_k if wanted.top_k is None else max(0, wanted.top_k),
            top_p=usual.top_p if wanted.top_p is None else max(1e-6, wanted.top_p),
            seed=drawn_seed(None),
        ),
        max_tokens=wanted.max_tokens,
        stop=stops,
        constraint=_constraint(wanted, prompt),
        conversation=(extension.conversation or "") if extension else "",
        save=extension is None or extension.save is not False,
        speculate=extension is None or extension.speculate not in (False, "off"),
    )
    choice = wanted.tool_choice or {}
    return MessagesCall(
        id=identity,
        model=wanted.model or "",
        requests=(request,),
        stream=bool(wanted.stream),
        deterministic=extension.deterministic if extension else None,
        draft=extension.draft if extension else None,
        route=extension.route_wish if extension else RouteWish(),
        tools=schemas_of(prompt.tools),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        stops=stops,
        shows_thinking=_thinks(wanted),
    )


def count_prompt(body: bytes) -> tuple[str, ChatPrompt]:
    """Model and prompt of a body whose tokens are to be counted. Raises InvalidRequest."""
    wanted = parse(MessagesBody, body)
    return wanted.model or "", prompt_of(wanted)


def prompt_of(wanted: MessagesBody) -> ChatPrompt:
    """Raises InvalidRequest."""
    tools = _tools(wanted)
    arguments: dict[str, Any] = {"enable_thinking": _thinks(wanted)}
    if wanted.output_config is not None and wanted.output_config.effort is not None:
        arguments["reasoning_effort"] = wanted.output_config.effort
    messages = [message for turn in wanted.messages for message in _messages(turn)]
    if system := _system(wanted.system):
        messages.insert(0, Message("system", system))
    return ChatPrompt(tuple(messages), tools, _forced(wanted, tools), arguments)


def _thinks(wanted: MessagesBody) -> bool:
    return wanted.thinking is not None and wanted.thinking.type != "disabled"


def _tools(wanted: MessagesBody) -> tuple[Definition, ...]:
    if (wanted.tool_choice or {}).get("type") == "none":
        return ()
    own = [
        {"type": "function", "name": tool.get("name"), "description": tool.get("description"), "parameters": schema}
        for tool in wanted.tools or ()
        # Tools that the vendor's own servers run have no schema, and nobody to run them here.
        if isinstance(schema := tool.get("input_schema"), Mapping)
    ]
    return functions(own)


def _forced(wanted: MessagesBody, tools: Sequence[Definition]) -> tuple[str, ...]:
    choice = wanted.tool_choice or {}
    if choice.get("type") == "tool":
        return forced({"type": "function", "name": choice.get("name")}, tools)
    return forced("required" if choice.get("type") == "any" else None, tools)


def _constraint(wanted: MessagesBody, prompt: ChatPrompt) -> Constraint | None:
    form = wanted.output_config.format if wanted.output_config is not None else None
    if form is None or form.schema_ is None or prompt.forced_tools:
        return None
    return Constraint("json_schema", json.dumps(form.schema_, ensure_ascii=False, separators=(",", ":")))


def _system(system: str | list[dict[str, Any]] | None) -> str:
    if isinstance(system, str):
        return system
    texts = (block.get("text") for block in system or ())
    return "\n\n".join(text for each in texts if isinstance(each, str) and (text := steady_text(each)))


def _messages(turn: Turn) -> Iterator[Message]:
    """One turn may hold results of tools and words; for a template these are turns of their own."""
    if not isinstance(turn.content, list):
        yield Message(turn.role, turn.content or "")
        return
    if turn.role == "assistant":
        yield _assistant(turn.content)
        return
    texts: list[str] = []
    for index, block in enumerate(turn.content):
        if block.get("type") != "tool_result":
            texts.append(_text(index, block))
            continue
        if texts:
            yield Message(turn.role, "\n\n".join(texts))
            texts = []
        yield Message("tool", _result(block), tool_call_id=_word(block.get("tool_use_id")))
    if texts or not turn.content:
        yield Message(turn.role, "\n\n".join(text for text in texts if text))


def _assistant(blocks: list[dict[str, Any]]) -> Message:
    texts, thoughts, calls = [], [], []
    for index, block in enumerate(blocks):
        match block.get("type"):
            case "thinking":
                thoughts.append(_word(block.get("thinking")))
            case "redacted_thinking":
                continue
            case "tool_use":
                arguments = block.get("input")
                function = {"name": _word(block.get("name")), "arguments": arguments if arguments is not None else {}}
                calls.append({"id": _word(block.get("id")), "type": "function", "function": function})
            case _:
                texts.append(_text(index, block))
    return Message("assistant", "\n\n".join(texts), "\n\n".join(thoughts), tool_calls=tuple(calls))


def _result(block: Mapping[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, list):
        blocks = (each for each in content if isinstance(each, dict))
        content = "\n".join(_text(index, each) for index, each in enumerate(blocks))
    text = content if isinstance(content, str) else ""
    return f"Error: {text}" if block.get("is_error") is True else text


def _text(index: int, block: Mapping[str, Any]) -> str:
    kind = block.get("type", "text")
    source = block.get("source")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return _word(source.get("data"))
    if kind in ("image", "document"):
        raise errors.InvalidRequest(f"content[{index}]: {kind}s cannot be read, only text can.", param="messages")
    # Blocks of kinds to come have text or nothing that a model without them could use.
    return _word(block.get("text"))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
