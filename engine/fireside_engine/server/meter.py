"""Timings of an answer that is not complete yet, counted from the events as they pass the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fireside_engine.core.events import Delta, Started, Timings
from fireside_engine.server.inbox import Item


@dataclass(slots=True)
class _Count:
    started: float
    n_prompt: int
    n_cached: int
    first: float = 0.0
    latest: float = 0.0
    n_tokens: int = 0


class Meter:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, _Count] = {}

    def see(self, item: Item) -> None:
        match item:
            case Started(request_id, n_prompt, n_cached):
                self._counts[request_id] = _Count(self._clock(), n_prompt, n_cached)
            case Delta(request_id=request_id, n_tokens=n_tokens):
                count = self._counts.setdefault(request_id, _Count(self._clock(), 0, 0))
                count.latest = self._clock()
                if count.n_tokens == 0:
                    count.first = count.latest
                count.n_tokens += n_tokens

    def timings(self, request_id: str) -> Timings:
        count = self._counts[request_id]
        return Timings(
            cache_n=count.n_cached,
            prompt_n=count.n_prompt - count.n_cached,
            prompt_ms=(count.first - count.started) * 1e3,
            predicted_n=count.n_tokens,
            predicted_ms=(count.latest - count.first) * 1e3,
        )

    def __str__(self) -> str:
        prompt = sum(count.n_prompt for count in self._counts.values())
        cached = sum(count.n_cached for count in self._counts.values())
        tokens = sum(count.n_tokens for count in self._counts.values())
        return f"prompt {prompt} (cached {cached}), answer {tokens} tokens"
