"""The models that answer as one, and how they do: words of routing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["exact", "balanced", "fast"]
Escalation = Literal["verify", "regenerate"]
MODES: tuple[Mode, ...] = ("exact", "balanced", "fast")


@dataclass(frozen=True, slots=True)
class Tier:
    """One model of a roster."""

    name: str
    identity: str
    """Changes with what answers: a file's name, size and time, or the address of a remote engine."""
    remote: bool = False
    n_ctx: int | None = None
    """Tokens of its context, where they are known before it is loaded."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Two tiers or more, from the cheapest to the most capable."""

    tiers: tuple[Tier, ...]

    def index(self, name: str) -> int | None:
        """Letter case does not matter."""
        wanted = name.strip().casefold()
        return next((i for i, tier in enumerate(self.tiers) if tier.name.casefold() == wanted), None)

    @property
    def top(self) -> int:
        return len(self.tiers) - 1

    @property
    def identities(self) -> tuple[str, ...]:
        return tuple(tier.identity for tier in self.tiers)


@dataclass(frozen=True, slots=True)
class Rule:
    """What the user wants always: the tier for prompts that meet every condition that is set."""

    tier: str
    """A tier's name, or `small` or `large`."""
    kind: str = ""
    """One of core.routing.features.KINDS."""
    contains: str = ""
    """Words that the last message has; letter case does not matter."""
    longer_than: int = 0
    """Characters of the whole prompt; 0 is any length."""
    tools: bool | None = None
    """Whether the request brings tools."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How much doubt and disagreement a mode bears."""

    threshold: float
    """The small tier's answer is escalated where its doubt is above."""
    tolerance: float
    kinds: tuple[tuple[str, float], ...] = ()
    """Thresholds of single kinds of prompts, which go before `threshold`."""

    def of(self, kind: str) -> float:
        return dict(self.kinds).get(kind, self.threshold)


CAUTIOUS: dict[Mode, Thresholds] = {
    "exact": Thresholds(0.0, 0.0),
    "balanced": Thresholds(0.12, 0.1),
    "fast": Thresholds(0.35, 0.3),
}
"""While nothing is proved: only what the small tier is nearly sure of stays with it."""
