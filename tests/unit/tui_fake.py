"""A stand-in for the engine: answers from a script, at a set speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from fireside.failure import Failure
from fireside.tui.engine import Model, Running, Status
from fireside.wire import JsonObject

NAME = "smollm2-135m-instruct"


@dataclass
class Script:
    """One answer."""

    text: str = "Hello."
    reasoning: str = ""
    piece: int = 4
    """Characters in a chunk."""
    loading: int = 0
    """Steps of loading before it."""
    prompt: tuple[int, int] = (100, 0)
    """Prompt tokens, and how many of them were cached."""
    prefill_steps: int = 0
    finish_reason: str = "stop"
    failure: Failure | None = None
    """Raised after the text."""
    runs: tuple[tuple[int, int], ...] = ()
    """What of the text was drafted and accepted."""
    hold: asyncio.Event | None = None
    """Waited for after the text, before the end."""


@dataclass
class FakeEngine:
    """Answers with its scripts in turn, the last one for ever."""

    scripts: list[Script] = field(default_factory=lambda: [Script()])
    rate: float = 0.0
    """Chunks per second; 0 is as fast as they are read."""
    names: tuple[str, ...] = (NAME, "qwen2.5-coder-1.5b")
    connect_failure: Failure | None = None
    connect_gate: asyncio.Event | None = None
    load_gate: asyncio.Event | None = None
    bodies: list[JsonObject] = field(default_factory=list)
    closed: int = 0
    """Answers that ended, whichever way."""
    loaded: str = ""
    connects: int = 0
    registered: list[Path] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    fits: list[JsonObject] = field(default_factory=list)
    fit_answer: JsonObject = field(default_factory=dict)
    downloads_answer: JsonObject = field(default_factory=dict)
    counts_tokens: bool = False

    async def connect(self) -> None:
        self.connects += 1
        if self.connect_gate is not None:
            await self.connect_gate.wait()
        if self.connect_failure is not None:
            raise self.connect_failure

    async def chat(self, body: JsonObject) -> AsyncGenerator[JsonObject, None]:
        self.bodies.append(body)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        model = str(body["model"] or self.loaded or self.names[0])
        try:
            for chunk in self.chunks(script, model):
                yield chunk
                await asyncio.sleep(1 / self.rate if self.rate else 0)
            if script.hold is not None:
                await script.hold.wait()
            if script.failure is not None:
                raise script.failure
            yield self.last_chunk(script, model)
        finally:
            self.closed += 1

    def chunks(self, script: Script, model: str) -> list[JsonObject]:
        base: JsonObject = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model}
        found: list[JsonObject] = []
        for at in range(script.loading):
            stage = {"stage": "loading", "model": model, "step": "reading", "fraction": at / script.loading}
            found.append({**base, "choices": [], "fireside": stage})
        total, cached = script.prompt
        for at in range(1, script.prefill_steps + 1):
            done = cached + (total - cached) * at // script.prefill_steps
            progress = {"total": total, "cache": cached, "processed": done, "time_ms": 100.0 * at}
            found.append({**base, "choices": [], "prompt_progress": progress})
        for name, text in (("reasoning_content", script.reasoning), ("content", script.text)):
            for at in range(0, len(text), script.piece):
                delta = {name: text[at : at + script.piece]}
                found.append({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        return found

    def last_chunk(self, script: Script, model: str) -> JsonObject:
        total, cached = script.prompt
        tokens = max(1, (len(script.text) + len(script.reasoning)) // script.piece)
        return {
            "model": model,
            "choices": [{"index": 0, "delta": {}, "finish_reason": script.finish_reason}],
            "timings": {
                "cache_n": cached,
                "prompt_n": total - cached,
                "predicted_n": tokens,
                "predicted_ms": tokens * 24.0,
                "predicted_per_second": 41.8,
                "draft_n": 0,
                "draft_n_accepted": 0,
            },
            "fireside": {"route": model, "reason": "", "exact": True, "seed": 7, "draft_runs": script.runs},
        }

    async def models(self) -> list[Model]:
        return [
            Model(name, name == self.loaded, 98_000_000 * (1 + at * 10), 8192) for at, name in enumerate(self.names)
        ]

    async def status(self) -> Status:
        if self.connect_failure is not None:
            raise self.connect_failure
        if not self.loaded:
            return Status((), 16_000_000_000, 9_000_000_000)
        running = Running(self.loaded, "ready", 8192, "llama 135M Q4_1", 190_000_000, 840.0)
        return Status((running,), 16_000_000_000, 9_000_000_000)

    async def load(self, model: str, *, deterministic: bool) -> str:
        if self.load_gate is not None:
            await self.load_gate.wait()
        self.loaded = model or self.names[0]
        return self.loaded

    async def forget(self, conversation: str) -> None:
        self.forgotten.append(conversation)

    async def fit(self, body: JsonObject) -> JsonObject:
        self.fits.append(body)
        return self.fit_answer

    async def downloads(self) -> JsonObject:
        return self.downloads_answer

    async def count_tokens(self, model: str, text: str) -> int | None:
        return len(text.split()) if self.counts_tokens and model else None

    async def register(self, path: Path) -> str:
        self.registered.append(path)
        self.names = (*self.names, path.stem)
        return path.stem


def failure(message: str = "The model process died.", hint: str = "The next message starts it again.") -> Failure:
    from fireside.exit_codes import ExitCode

    return Failure(message, ExitCode.ENGINE, hint=hint, code="worker_crashed")
