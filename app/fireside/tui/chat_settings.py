"""What the next request asks of the engine, and the request itself. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any

from fireside.conversations.tree import Conversation
from fireside.recording import drafting
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
    draft: str = ""
    """The model that drafts, auto or off; empty leaves it to the engine."""

    def body(self, conversation: Conversation, *, saves: bool, new_seed: bool = False) -> dict[str, Any]:
        """A request for a streamed answer; `new_seed` draws one even where a seed is set, so that a retry differs."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": conversation.messages(),
            **STREAM_OPTIONS,
            "seed": secrets.randbits(31) if new_seed or self.seed is None else self.seed,
            "fireside": {"conversation": conversation.id, "save": saves, "draft_runs": True},
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.deterministic:
            body["fireside"]["deterministic"] = True
        body["fireside"] |= drafting(self.draft)
        return body

    def to_json(self) -> dict[str, Any]:
        """What differs from the engine's own choice."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> ChatSettings:
        """Inverse of `to_json`; members that something else put there are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})
