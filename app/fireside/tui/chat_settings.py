"""What the next request asks of the engine, and the request itself. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from fireside.streaming import STREAM_OPTIONS


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Of one conversation; None leaves the choice to the engine."""

    model: str = ""
    """Empty is the engine's default."""
    temperature: float | None = None
    seed: int | None = None
    """None draws a new one for each answer."""
    deterministic: bool = False

    def body(self, messages: list[dict[str, Any]], *, new_seed: bool = False) -> dict[str, Any]:
        """A request for a streamed answer; `new_seed` draws one even where a seed is set, so that a retry differs."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            **STREAM_OPTIONS,
            "seed": secrets.randbits(31) if new_seed or self.seed is None else self.seed,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.deterministic:
            body["fireside"] = {"deterministic": True}
        return body
