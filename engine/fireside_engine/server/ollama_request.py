"""From bodies of Ollama's endpoints to the engine's own requests. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fireside_engine import errors
from fireside_engine.core.request import ChatPrompt, Constraint, FillPrompt, Message, Prompt, Request, TextPrompt
from fireside_engine.server.call import Call
from fireside_engine.server.ollama_schema import ChatBody, GenerateBody, Turn
from fireside_engine.server.openai_request import first_limit, json_schema, sampling
from fireside_engine.server.openai_schema import GenerationBody, explain
from fireside_engine.server.tools import arguments_of, functions, schemas_of

_OPTIONS = (
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "repeat_penalty", "repeat_last_n", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OllamaCall(Call):
    as_chat: bool = True
    """Words come in `message`, not in `response`."""


def chat_call(body: ChatBody) -> OllamaCall:
    """Raises InvalidRequest."""
    tools = functions(body.tools)
    messages = tuple(_message(index, turn) for index, turn in enumerate(body.messages or ()))
    prompt = ChatPrompt(messages, tools, template_args=_template_args(body.think))
    return _call(body, prompt, schemas_of(tools), as_chat=True)


def generate_call(body: GenerateBody) -> OllamaCall:
    """Raises InvalidRequest."""
    if body.images:
        raise _no_images("images")
    if body.context:
        words = "context: no answer here gives one; send the conversation to /api/chat, its KV is kept."
        raise errors.InvalidRequest(words, param="context")
    if body.template:
        words = "template: templates in Go's language are not rendered here; send `raw` with a finished prompt."
        raise errors.InvalidRequest(words, param="template")
    prompt: Prompt
    text = body.prompt or ""
    if body.suffix:
        prompt = FillPrompt(text, body.suffix)
    elif body.raw:
        prompt = TextPrompt(text, parse_special=True)
    else:
        opening = (Message("system", body.system),) if body.system else ()
        prompt = ChatPrompt((*opening, Message("user", text)), template_args=_template_args(body.think))
    return _call(body, prompt, {}, as_chat=False)


def _call(body: ChatBody | GenerateBody, prompt: Prompt, schemas: dict[str, Any], *, as_chat: bool) -> OllamaCall:
    options = body.options or {}
    identity = f"ollama-{secrets.token_hex(12)}"
    try:
        known = GenerationBody.model_validate({name: options[name] for name in _OPTIONS if name in options})
    except ValidationError as error:
        raise explain(error, "options.") from None
    limit = options.get("num_predict")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise errors.InvalidRequest("options.num_predict: must be a whole number.", param="options.num_predict")
    request = Request(
        id=identity,
        prompt=prompt,
        sampling=sampling(known, (), (body.top_logprobs or 0) if body.logprobs else None),
        max_tokens=first_limit(limit),
        stop=tuple(text for text in known.stop or () if text),
        constraint=_constraint(body.format),
        save=not isinstance(prompt, FillPrompt),
    )
    return OllamaCall(
        id=identity,
        model=body.model,
        requests=(request,),
        stream=body.stream is not False,
        keep_alive=body.keep_alive,
        tools=schemas,
        as_chat=as_chat,
    )


def _constraint(form: str | dict[str, Any] | None) -> Constraint | None:
    if isinstance(form, dict):
        return json_schema(form)
    return Constraint("json_object") if form == "json" else None


def _template_args(think: bool | str | None) -> dict[str, Any]:
    if think is None:
        return {}
    if isinstance(think, str):
        return {"enable_thinking": True, "reasoning_effort": think}
    return {"enable_thinking": think}


def _message(index: int, turn: Turn) -> Message:
    if turn.images:
        raise _no_images(f"messages[{index}].images")
    calls = tuple(
        {
            "id": call.id or f"call_{index}_{number}",
            "type": "function",
            "function": {"name": call.function.name, "arguments": arguments_of(call.function.arguments)},
        }
        for number, call in enumerate(turn.tool_calls or ())
    )
    return Message(
        turn.role,
        turn.content or "",
        turn.thinking or "",
        name=turn.tool_name,
        tool_calls=calls,
        tool_call_id=turn.tool_call_id,
    )


def _no_images(param: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"{param}: images cannot be read, only text can.", param=param)
