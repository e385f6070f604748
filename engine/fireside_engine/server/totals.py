"""Sums over all answers since the engine started, for `/metrics`."""

from __future__ import annotations

from collections.abc import Sequence

from fireside_engine.core.events import Finished


class Totals:
    def __init__(self) -> None:
        self.requests = 0
        self.prompt_tokens = 0
        """Computed; cached ones are apart."""
        self.cached_tokens = 0
        self.prompt_ms = 0.0
        self.predicted_tokens = 0
        self.predicted_ms = 0.0
        self.longest = 0
        """Tokens of the longest conversation."""

    def add(self, ends: Sequence[Finished]) -> None:
        for end in ends:
            timings = end.timings
            self.requests += 1
            self.prompt_tokens += timings.prompt_n
            self.cached_tokens += timings.cache_n
            self.prompt_ms += timings.prompt_ms
            self.predicted_tokens += timings.predicted_n
            self.predicted_ms += timings.predicted_ms
            self.longest = max(self.longest, end.n_prompt + timings.predicted_n)
