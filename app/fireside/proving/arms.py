"""Who answers: a tier alone, or `auto` in a mode with its thresholds. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from fireside.wire import JsonObject

Mode = Literal["exact", "balanced", "fast"]
MODES: tuple[Mode, ...] = ("exact", "balanced", "fast")
TOLERANCE = {"balanced": 0.1, "fast": 0.3}
"""Share of the large tier's likelihood that a token of the small one may lack, by mode."""
SEED = 1


@dataclass(frozen=True, slots=True)
class Tier:
    """A model of the roster."""

    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Arm:
    label: str
    """As reports call it."""
    model: str
    route: JsonObject | None = field(default=None, hash=False)
    """The member of a request that tells `auto` what to do."""

    @property
    def key(self) -> str:
        """What tells its answers from those of others: another threshold is another arm."""
        return self.label if self.route is None else f"{self.label} {json.dumps(self.route, sort_keys=True)}"

    def body(self, asked: JsonObject) -> JsonObject:
        """A whole request. Nothing of it is kept by the engine, so that no arm gains from what another one computed."""
        extension: JsonObject = {"save": False}
        if self.route is not None:
            extension["route"] = self.route
        return {**asked, "model": self.model, "temperature": 0, "seed": SEED, "stream": True, "fireside": extension,
                "stream_options": {"include_usage": True}, "return_progress": True}  # fmt: skip


def of_tier(tier: Tier, *, routed: bool) -> Arm:
    """One tier alone; `routed` asks `auto` for it, which tells its doubt too."""
    return Arm(tier.name, "auto", {"tier": tier.name}) if routed else Arm(tier.name, tier.name)


def of_mode(mode: Mode, kind: str, thresholds: dict[str, float], tolerance: float) -> Arm:
    """`auto` as it will be with these thresholds. A request has one threshold: that of the prompt's kind."""
    if mode == "exact":
        return Arm("exact", "auto", {"mode": "exact"})
    threshold = thresholds.get(kind, 0.0)
    return Arm(mode, "auto", {"mode": mode, "threshold": threshold, "tolerance": tolerance})
