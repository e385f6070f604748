"""Answers of the responses API: a list of items, whole, or built up by numbered events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from fireside_engine import errors
from fireside_engine.core.answers.parts import CallArguments, CallStart, Part, Reasoning, Text
from fireside_engine.core.events import Finished
from fireside_engine.core.request import ChatPrompt, Message
from fireside_engine.server import sse
from fireside_engine.server.inbox import Item
from fireside_engine.server.responses_request import ResponsesCall, shown_tools
from fireside_engine.server.responses_schema import ResponsesBody
from fireside_engine.server.responses_store import Kept
from fireside_engine.server.transcript import Transcript

Json = dict[str, Any]


class ResponsesAnswer:
    """A `Voice`. `keep` gets what the next response may go on from."""

    headers = sse.HEADERS
    ping = sse.PING

    def __init__(self, call: ResponsesCall, model: str, keep: Callable[[str, Kept], None]) -> None:
        self._call = call
        self._model = model
        self._keep = keep
        self._created = int(time.time())
        self._n_events = 0
        self._output: list[Json] = []
        """Items so far; the last one is open while `_kind` says what it is."""
        self._kind = ""
        self.transcript = Transcript(call.requests, call.tools, parallel=call.parallel)

    # --- in events

    def begin(self) -> bytes:
        empty = self._response("in_progress", [], None)
        return self._event("response.created", response=empty) + self._event("response.in_progress", response=empty)

    def say(self, item: Item, parts: list[Part]) -> bytes:
        said = b"".join(map(self._part, parts))
        if not isinstance(item, Finished):
            return said
        said += self._close()
        answer = self.transcript.answers[0]
        status = "incomplete" if answer.is_cut else "completed"
        response = self._response(status, self._output, self._usage())
        self._remember(response)
        return said + self._event(f"response.{status}", response=response)

    def end(self) -> bytes:
        return b""

    def fail(self, error: errors.FiresideError) -> bytes:
        response = self._response("failed", self._output, None)
        response["error"] = {"code": "server_error", "message": str(error)}
        return self._event("response.failed", response=response)

    def _part(self, part: Part) -> bytes:
        match part:
            case Text(text):
                opened = self._open("message")
                self._output[-1]["content"][0]["text"] += text
                return opened + self._delta("response.output_text.delta", text, content_index=0, logprobs=[])
            case Reasoning(text):
                opened = self._open("reasoning")
                self._output[-1]["summary"][0]["text"] += text
                return opened + self._delta("response.reasoning_summary_text.delta", text, summary_index=0)
            case CallStart(index, name):
                call = self.transcript.answers[0].calls[index]
                return self._close() + self._open("function_call", call_id=call.id, name=name)
            case CallArguments(text=text):
                self._output[-1]["arguments"] += text
                return self._delta("response.function_call_arguments.delta", text)

    def _open(self, kind: str, **members: str) -> bytes:
        if self._kind == kind:
            return b""
        closed = self._close()
        self._kind = kind
        item = new_item(kind, **members)
        self._output.append(item)
        added = self._event("response.output_item.added", output_index=len(self._output) - 1, item=_blank(item))
        if kind == "message":
            added += self._place("response.content_part.added", content_index=0, part=_text_part(""))
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            added += self._place("response.reasoning_summary_part.added", summary_index=0, part=part)
        return closed + added

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        kind, self._kind = self._kind, ""
        item = self._output[-1]
        item["status"] = "completed"
        if kind == "message":
            text = item["content"][0]["text"]
            done = self._place("response.output_text.done", content_index=0, text=text, logprobs=[])
            done += self._place("response.content_part.done", content_index=0, part=item["content"][0])
        elif kind == "reasoning":
            text = item["summary"][0]["text"]
            done = self._place("response.reasoning_summary_text.done", summary_index=0, text=text)
            done += self._place("response.reasoning_summary_part.done", summary_index=0, part=item["summary"][0])
        else:
            arguments = item["arguments"]
            done = self._place("response.function_call_arguments.done", name=item["name"], arguments=arguments)
        return done + self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _delta(self, kind: str, text: str, **members: object) -> bytes:
        return self._place(kind, delta=text, **members)

    def _place(self, kind: str, **members: object) -> bytes:
        item = self._output[-1]
        return self._event(kind, item_id=item["id"], output_index=len(self._output) - 1, **members)

    def _event(self, kind: str, **members: object) -> bytes:
        number = self._n_events
        self._n_events += 1
        return sse.event({"type": kind, "sequence_number": number, **members}, kind)

    # --- whole

    def whole(self) -> Json:
        said = self.transcript.answers[0]
        if said.thoughts:
            item = new_item("reasoning")
            item["summary"][0]["text"] = said.reasoning
            self._output.append(item)
        if said.texts or not said.calls:
            item = new_item("message")
            item["content"][0]["text"] = said.text
            self._output.append(item)
        for call in said.calls:
            self._output.append({**new_item("function_call", call_id=call.id, name=call.name), "arguments": call.text})
        for item in self._output:
            item["status"] = "completed"
        response = self._response("incomplete" if said.is_cut else "completed", self._output, self._usage())
        self._remember(response)
        return response

    # --- both

    def _remember(self, response: Json) -> None:
        if self._call.body.store is False:
            return
        said = self.transcript.answers[0]
        calls = tuple(
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in said.calls
        )
        answer = Message("assistant", said.text, said.reasoning, tool_calls=calls)
        self._keep(self._call.id, Kept((*self._call.messages, answer), response))

    def _usage(self) -> Json:
        said = self.transcript.answers[0]
        end = said.end
        return {
            "input_tokens": end.n_prompt,
            "input_tokens_details": {"cached_tokens": end.timings.cache_n},
            "output_tokens": end.timings.predicted_n,
            "output_tokens_details": {"reasoning_tokens": said.n_thinking},
            "total_tokens": end.n_prompt + end.timings.predicted_n,
        }

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        body, sampling = self._call.body, self._call.requests[0].sampling
        prompt = self._call.requests[0].prompt
        tools = shown_tools(prompt.tools) if isinstance(prompt, ChatPrompt) else []
        is_over = status in ("completed", "incomplete")
        return {
            "id": self._call.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if is_over else None,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self._model,
            "previous_response_id": body.previous_response_id,
            "instructions": body.instructions,
            "output": list(output),
            "error": None,
            "tools": tools,
            "tool_choice": body.tool_choice if isinstance(body.tool_choice, str | dict) else "auto",
            "truncation": body.truncation or "disabled",
            "parallel_tool_calls": self._call.parallel,
            "text": {"format": _format(body)},
            "top_p": sampling.top_p,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "top_logprobs": 0,
            "temperature": sampling.temperature,
            "reasoning": {
                "effort": body.reasoning.effort if body.reasoning else None,
                "summary": body.reasoning.summary if body.reasoning else None,
            },
            "usage": usage,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "store": body.store is not False,
            "background": False,
            "service_tier": body.service_tier or "default",
            "metadata": body.metadata or {},
            "safety_identifier": body.safety_identifier,
            "prompt_cache_key": body.prompt_cache_key,
        }


def _format(body: ResponsesBody) -> Json:
    wanted = body.text.format if body.text is not None else None
    if wanted is None or wanted.type != "json_schema":
        return {"type": "text" if wanted is None else wanted.type}
    named = {"name": wanted.name or "answer", "description": None, "strict": True}
    return {"type": wanted.type, "schema": wanted.schema_, **named}


def new_item(kind: str, **members: str) -> Json:
    """An open item of the output."""
    if kind == "message":
        content = [_text_part("")]
        return {"id": _id("msg"), "type": kind, "role": "assistant", "status": "in_progress", "content": content}
    if kind == "reasoning":
        summary = [{"type": "summary_text", "text": ""}]
        return {"id": _id("rs"), "type": kind, "status": "in_progress", "summary": summary, "encrypted_content": None}
    return {"id": _id("fc"), "type": kind, "status": "in_progress", "arguments": "", **members}


def _blank(item: Json) -> Json:
    """As an item is announced, before its parts are."""
    return {**item, **{key: [] for key in ("content", "summary") if key in item}}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"
