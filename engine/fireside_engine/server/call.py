"""A call of a client, understood, whatever dialect it came in; and how its answers are told back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fireside_engine import errors
from fireside_engine.core.answers.parts import Part
from fireside_engine.core.request import Request
from fireside_engine.core.routing.roster import Escalation, Mode
from fireside_engine.server.inbox import Item
from fireside_engine.server.transcript import Transcript

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RouteWish:
    """How a request wants to be routed, where its model is `auto`; what is not said is left to the settings."""

    mode: Mode | None = None
    tolerance: float | None = None
    tier: str = ""
    """This tier and no other."""
    threshold: float | None = None
    escalate: Escalation | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a dialect makes of a body."""

    id: str
    model: str
    requests: tuple[Request, ...]
    """One for each answer that is wanted."""
    stream: bool = False
    return_progress: bool = False
    """The client wants to hear of loading and of the prompt."""
    timings_per_token: bool = False
    deterministic: bool | None = None
    draft: str | None = None
    """The model that drafts for it; None leaves it to the settings."""
    keep_alive: float | None = None
    route: RouteWish = field(default_factory=RouteWish)
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a tool to the schema of its arguments; without any, calls are words like others."""
    thinks: bool = True
    """Thinking is told apart from words."""
    parallel: bool = True
    """One answer may call several tools."""

    @property
    def seed(self) -> int:
        return self.requests[0].sampling.seed


class Voice(Protocol):
    """One call's answer in a dialect. What it says depends on `transcript`, which the exchange keeps up to date."""

    headers: list[Header]
    """Of a stream."""

    @property
    def ping(self) -> bytes:
        """Said while there is nothing to say."""
        ...

    def begin(self) -> bytes:
        """First words of a stream."""
        ...

    def say(self, item: Item, parts: list[Part]) -> bytes:
        """What happened, and what it adds to the answer; often nothing is to be said of it."""
        ...

    def end(self) -> bytes:
        """Last words of a stream."""
        ...

    def fail(self, error: errors.FiresideError) -> bytes:
        """Last words of a stream that cannot go on."""
        ...

    def whole(self) -> object:
        """The answer in one piece, as JSON."""
        ...

    @property
    def transcript(self) -> Transcript: ...
