"""Answers as Ollama gives them: lines of JSON, the last with `done` and the times in nanoseconds."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from fireside_engine import errors
from fireside_engine.core.answers.parts import Part, Reasoning, Text
from fireside_engine.core.events import Delta, Finished, Started, TokenLogprob
from fireside_engine.server.dialect_errors import ollama_body
from fireside_engine.server.inbox import Item
from fireside_engine.server.ollama_request import OllamaCall
from fireside_engine.server.responses import dumps
from fireside_engine.server.transcript import Said, Transcript

HEADERS = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-cache")]


class OllamaAnswer:
    """A `Voice`."""

    headers = HEADERS

    def __init__(self, call: OllamaCall, model: str) -> None:
        self._call = call
        self._model = model
        self._began = time.monotonic()
        self.transcript = Transcript(call.requests, call.tools)

    @property
    def ping(self) -> bytes:
        """An empty line would break clients, words that say nothing do not."""
        return self._line(self._words())

    def begin(self) -> bytes:
        return b""

    def say(self, item: Item, parts: list[Part]) -> bytes:
        lines = b""
        if isinstance(item, Started | Delta | Finished):
            logprobs = list(item.logprobs) if isinstance(item, Delta) else []
            lines += self._lines(parts, logprobs)
        if isinstance(item, Finished):
            said = self.transcript.answers[0]
            if said.calls:
                lines += self._line(self._words(calls=_calls(said)))
            lines += self._line({**self._words(), **self._end()})
        return lines

    def _lines(self, parts: list[Part], logprobs: list[TokenLogprob]) -> bytes:
        lines = []
        for part in parts:
            if isinstance(part, Text):
                lines.append(self._words(text=part.text))
            elif isinstance(part, Reasoning):
                lines.append(self._words(thinking=part.text))
        if logprobs:
            lines = lines or [self._words()]
            lines[0]["logprobs"] = [_logprob(entry) for entry in logprobs]
        return b"".join(map(self._line, lines))

    def end(self) -> bytes:
        return b""

    def fail(self, error: errors.FiresideError) -> bytes:
        return dumps(ollama_body(error)) + b"\n"

    def whole(self) -> dict[str, Any]:
        said = self.transcript.answers[0]
        words = self._words(text=said.text, thinking=said.reasoning, calls=_calls(said))
        if said.logprobs:
            words["logprobs"] = [_logprob(entry) for entry in said.logprobs]
        return {**words, **self._end()}

    def _words(self, text: str = "", thinking: str = "", calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        line: dict[str, Any] = {"model": self._call.model or self._model, "created_at": now()}
        # Content is never absent: clients with strict types stop at it.
        said: dict[str, Any] = {"role": "assistant", "content": text} if self._call.as_chat else {"response": text}
        if thinking:
            said["thinking"] = thinking
        if calls:
            said["tool_calls"] = calls
        return {**line, **({"message": said} if self._call.as_chat else said), "done": False}

    def _end(self) -> dict[str, Any]:
        said = self.transcript.answers[0]
        end = said.end
        return {
            "done": True,
            "done_reason": "length" if said.is_cut else "stop",
            "total_duration": int((time.monotonic() - self._began) * 1e9),
            "load_duration": int(self.transcript.load_ms * 1e6),
            "prompt_eval_count": end.n_prompt,
            "prompt_eval_duration": int(end.timings.prompt_ms * 1e6),
            "eval_count": end.timings.predicted_n,
            "eval_duration": int(end.timings.predicted_ms * 1e6),
        }

    @staticmethod
    def _line(value: dict[str, Any]) -> bytes:
        return dumps(value) + b"\n"


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _calls(said: Said) -> list[dict[str, Any]]:
    """Arguments are an object here, and a call has no other key: some clients take none."""
    found = []
    for call in said.calls:
        try:
            arguments = json.loads(call.text or "{}")
        except ValueError:
            arguments = {"arguments": call.text}
        if not isinstance(arguments, dict):
            arguments = {"arguments": arguments}
        found.append({"function": {"name": call.name, "arguments": arguments}})
    return found


def _logprob(entry: TokenLogprob) -> dict[str, Any]:
    return {
        **_token(entry.piece, entry.logprob),
        "top_logprobs": [_token(piece, value) for _, piece, value in entry.top],
    }


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": max(logprob, -9999.0), "bytes": list(piece)}
