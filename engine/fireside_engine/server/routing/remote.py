"""A tier elsewhere: an engine that speaks OpenAI's API. With models/hub.py the only module that uses the network, and
only where the user put a remote engine into the roster.

Its answers are told as those of a model of this machine, as events, so that nothing else knows the difference. What it
calls of tools is written as models of the ChatML family do, which is what `info` says of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Finished, FinishReason, Started, Timings, TokenLogprob
from fireside_engine.core.request import ChatPrompt, Message, Request, TextPrompt
from fireside_engine.models.configuration import RemoteSettings
from fireside_engine.server.inbox import Inbox, Item
from fireside_engine.worker.protocol import ModelInfo

MAX_LINE = 4 * 1024 * 1024
"""Bytes of one event; a longer one is no answer."""


@dataclass(slots=True)
class _Heard:
    """An answer so far."""

    first: float = 0.0
    n: int = 0
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


class RemoteGeneration:
    """An `Answering` of one request. Errors are NoConnection where the engine is gone or mute."""

    info: ModelInfo | None = None
    load_ms = 0.0

    def __init__(self, name: str, remote: RemoteSettings, request: Request, buffer_limit: int) -> None:
        self._name, self._remote, self._request = name, remote, request
        self._inbox = Inbox(buffer_limit, self._stop)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    async def get(self) -> Item:
        return await self._inbox.get()

    def take(self) -> Item | None:
        return self._inbox.take()

    def cancel(self, request_id: str) -> None:  # noqa: ARG002
        self._stop()

    def abort(self, error: errors.FiresideError) -> None:
        self._inbox.close(Failed("", error.to_dict()))
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        # The client is imported where it is used: most engines never need it.
        import httpx2

        try:
            await self._talk(httpx2)
        except errors.FiresideError as error:
            self._inbox.close(Failed(self._request.id, error.to_dict()))
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            # No words of the other side: they may quote the prompt.
            why = type(error).__name__
            self._inbox.close(Failed(self._request.id, self._gone(f"the connection failed ({why})").to_dict()))

    async def _talk(self, client_of: Any) -> None:
        request, began = self._request, time.monotonic()
        path, body = self._body()
        timeout = client_of.Timeout(self._remote.timeout, connect=min(10.0, self._remote.timeout))
        async with (
            client_of.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", f"{self._base}/{path}", json=body, headers=self._headers()) as answer,
        ):
            if answer.status_code != 200:
                raise self._gone(f"it answered with status {answer.status_code}")
            heard = _Heard()
            self._inbox.put(Started(request.id, 0, 0))
            async for event in _events(answer):
                self._heed(event, heard)
            if not heard.reason:
                raise self._gone("it ended in the middle of its answer")
        for call in heard.calls.values():
            self._inbox.put(Delta(request.id, _call_text(call), 0))
        self._inbox.put(self._end(heard, began))

    def _heed(self, event: dict[str, Any], heard: _Heard) -> None:
        if event.get("error"):
            raise self._gone("it reported an error")
        if isinstance(event.get("usage"), dict):
            heard.usage = event["usage"]
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text = choice.get("text") or delta.get("content") or ""
            if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                text = f"<think>{thought}</think>" + text
            for call in delta.get("tool_calls") or ():
                known = heard.calls.setdefault(int(call.get("index") or 0), {"name": "", "arguments": ""})
                function = call.get("function") or {}
                known["name"] += function.get("name") or ""
                known["arguments"] += function.get("arguments") or ""
            if text:
                heard.first = heard.first or time.monotonic()
                heard.n += 1
                self._inbox.put(Delta(self._request.id, text, 1, _logprobs(choice.get("logprobs"))))
            heard.reason = choice.get("finish_reason") or heard.reason

    def _end(self, heard: _Heard, began: float) -> Finished:
        now = time.monotonic()
        first = heard.first or now
        n_prompt = int(heard.usage.get("prompt_tokens") or 0)
        timings = Timings(
            prompt_n=n_prompt,
            prompt_ms=(first - began) * 1e3,
            predicted_n=int(heard.usage.get("completion_tokens") or heard.n),
            predicted_ms=(now - first) * 1e3,
        )
        reason = FinishReason.LENGTH if heard.reason == "length" else FinishReason.STOP
        return Finished(self._request.id, reason, n_prompt, timings)

    @property
    def _base(self) -> str:
        base = self._remote.url.rstrip("/")
        return base if base.endswith("/v1") else f"{base}/v1"

    def _headers(self) -> dict[str, str]:
        """Raises NoConnection where the key is missing."""
        if not self._remote.key_env:
            return {}
        key = os.environ.get(self._remote.key_env, "")
        if not key:
            raise self._gone(f"the variable {self._remote.key_env} has no key")
        return {"Authorization": f"Bearer {key}"}

    def _body(self) -> tuple[str, dict[str, Any]]:
        """Raises NotSupported for prompts that no such engine takes."""
        request, sampling = self._request, self._request.sampling
        body: dict[str, Any] = {
            "model": self._remote.model or "default",
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed & (2**31 - 1),
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            **({"max_tokens": request.max_tokens} if request.max_tokens is not None else {}),
            **({"stop": list(request.stop)} if request.stop else {}),
        }
        if request.constraint is not None:
            body["response_format"] = self._format()
        prompt = request.prompt
        if isinstance(prompt, TextPrompt):
            return "completions", {**body, "prompt": prompt.text}
        if not isinstance(prompt, ChatPrompt):
            raise errors.NotSupported(f"{self._name} takes no prompts of this kind.", feature="prompt")
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": min(20, sampling.logprobs)}
        if prompt.tools:
            body["tools"] = list(prompt.tools)
            if prompt.forced_tools:
                body["tool_choice"] = "required"
        return "chat/completions", {**body, "messages": [_message(message) for message in prompt.messages]}

    def _format(self) -> dict[str, Any]:
        """Raises NotSupported for constraints that this API has no words for."""
        constraint = self._request.constraint
        if constraint is not None and constraint.kind == "json_schema":
            schema = {"name": "answer", "schema": json.loads(constraint.source)}
            return {"type": "json_schema", "json_schema": schema}
        if constraint is not None and constraint.kind == "json_object":
            return {"type": "json_object"}
        raise errors.NotSupported(f"{self._name} knows no grammars.", feature="grammar")

    def _gone(self, why: str) -> errors.NoConnection:
        hint = f"See that it runs, or take {self._name} out of auto.roster in config.toml."
        return errors.NoConnection(f"The remote tier {self._name} did not answer: {why}.", hint=hint, tier=self._name)


async def _events(answer: Any) -> AsyncIterator[dict[str, Any]]:
    """Of a stream of server-sent events. Raises NoConnection for one that is none."""
    size = 0
    async for line in answer.aiter_lines():
        size = len(line)
        if size > MAX_LINE:
            raise errors.NoConnection("A remote tier sent an event that is too long.")
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise errors.NoConnection("A remote tier sent what is no event.") from None
        if isinstance(event, dict):
            yield event


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": _arguments(call["function"].get("arguments"))}}
        for call in message.tool_calls
    ]
    return {
        "role": message.role,
        "content": message.content,
        **({"tool_calls": calls} if calls else {}),
        **({"tool_call_id": message.tool_call_id} if message.tool_call_id else {}),
        **({"name": message.name} if message.name else {}),
    }


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _call_text(call: dict[str, str]) -> str:
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError:
        arguments = {}
    body = json.dumps({"name": call["name"], "arguments": arguments}, ensure_ascii=False)
    return f"\n<tool_call>\n{body}\n</tool_call>"


def _logprobs(given: object) -> tuple[TokenLogprob, ...]:
    content = given.get("content") if isinstance(given, dict) else None
    found = []
    for entry in content or ():
        top = tuple(
            (-1, str(other.get("token", "")).encode(), float(other.get("logprob") or 0.0))
            for other in entry.get("top_logprobs") or ()
        )
        found.append(TokenLogprob(-1, str(entry.get("token", "")).encode(), float(entry.get("logprob") or 0.0), top))
    return tuple(found)
