"""Answers of Anthropic's messages API: a list of blocks, whole or built up by events."""

from __future__ import annotations

import json
from typing import Any

from fireside_engine import errors
from fireside_engine.core.answers.parts import CallArguments, CallStart, Part, Reasoning, Text
from fireside_engine.core.events import Finished, Started
from fireside_engine.server import sse
from fireside_engine.server.anthropic_request import MessagesCall
from fireside_engine.server.dialect_errors import anthropic_body
from fireside_engine.server.inbox import Item
from fireside_engine.server.transcript import Said, Transcript

SIGNATURE = "ZmlyZXNpZGU="
"""Clients send thinking back only where it is signed; nothing here checks it."""


class MessagesAnswer:
    """A `Voice`."""

    headers = sse.HEADERS
    ping = sse.event({"type": "ping"}, "ping")

    def __init__(self, call: MessagesCall, model: str) -> None:
        self._call = call
        self._model = model
        self._index = -1
        self._open: str | None = None
        """Kind of the block that is being built up."""
        self.transcript = Transcript(call.requests, call.tools, parallel=call.parallel)

    # --- in events

    def begin(self) -> bytes:
        return b""

    def say(self, item: Item, parts: list[Part]) -> bytes:
        said = b""
        if isinstance(item, Started):
            start = {**self._message([]), "stop_reason": None, "usage": _usage(item.n_prompt, item.n_cached, 0)}
            said += _event("message_start", message=start)
        said += b"".join(map(self._part, parts))
        if isinstance(item, Finished):
            answer = self.transcript.answers[0]
            delta = {"stop_reason": self._reason(answer), "stop_sequence": self._stop_sequence(answer)}
            said += self._close() + _event("message_delta", delta=delta, usage=_usage_of(answer))
        return said

    def end(self) -> bytes:
        return _event("message_stop")

    def fail(self, error: errors.FiresideError) -> bytes:
        return sse.event(anthropic_body(error), "error")

    def _part(self, part: Part) -> bytes:
        match part:
            case Text(text):
                return self._in("text", {"type": "text", "text": ""}) + self._delta("text_delta", text=text)
            case Reasoning(text):
                if not self._call.shows_thinking:
                    return b""
                thought = {"type": "thinking", "thinking": "", "signature": ""}
                return self._in("thinking", thought) + self._delta("thinking_delta", thinking=text)
            case CallStart(index, name):
                block: dict[str, Any] = {"type": "tool_use", "id": self._call_id(index), "name": name, "input": {}}
                return self._close() + self._in("tool_use", block)
            case CallArguments(text=text):
                return self._delta("input_json_delta", partial_json=text)

    def _in(self, kind: str, block: dict[str, Any]) -> bytes:
        """Events that lead into a block of this kind."""
        if self._open == kind:
            return b""
        closed = self._close()
        self._open = kind
        self._index += 1
        return closed + _event("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = self._delta("signature_delta", signature=SIGNATURE) if self._open == "thinking" else b""
        self._open = None
        return signed + _event("content_block_stop", index=self._index)

    def _delta(self, kind: str, **members: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **members})

    # --- whole

    def whole(self) -> dict[str, Any]:
        said = self.transcript.answers[0]
        content: list[dict[str, Any]] = []
        if said.thoughts and self._call.shows_thinking:
            content.append({"type": "thinking", "thinking": said.reasoning, "signature": SIGNATURE})
        if said.texts:
            content.append({"type": "text", "text": said.text})
        for index, call in enumerate(said.calls):
            use = {"type": "tool_use", "id": self._call_id(index), "name": call.name, "input": _object(call.text)}
            content.append(use)
        return {
            **self._message(content),
            "stop_reason": self._reason(said),
            "stop_sequence": self._stop_sequence(said),
            "usage": _usage_of(said),
        }

    # --- both

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._call.id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_sequence": None,
        }

    def _call_id(self, index: int) -> str:
        own = self.transcript.answers[0].calls[index].id
        return own.replace("call_", "toolu_")

    def _stop_sequence(self, said: Said) -> str | None:
        stop = said.end.stop_string
        return stop if stop in self._call.stops else None

    def _reason(self, said: Said) -> str:
        if said.is_cut:
            return "max_tokens"
        if said.calls:
            return "tool_use"
        return "stop_sequence" if self._stop_sequence(said) is not None else "end_turn"


def _event(kind: str, **members: object) -> bytes:
    return sse.event({"type": kind, **members}, kind)


def _usage(n_prompt: int, n_cached: int, n_output: int) -> dict[str, int]:
    """Tokens that were known already are counted apart."""
    return {
        "input_tokens": n_prompt - n_cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": n_cached,
        "output_tokens": n_output,
    }


def _usage_of(said: Said) -> dict[str, int]:
    end = said.end
    return _usage(end.n_prompt, end.timings.cache_n, end.timings.predicted_n)


def _object(text: str) -> dict[str, Any]:
    """Arguments as an object; what was cut off before it became one is kept as text."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}
