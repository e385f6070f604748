"""What all answers together cost, and what each of the four levers saved. Pure.

Savings are against the same answers without the lever, in seconds, by what this machine was measured to do:

* quantization: decoding reads every weight once for each token, so weights of 16 bits would take as much longer as they
  are larger. An estimate, and marked as one.
* KV: tokens that were not read again, at the speed at which the model reads.
* drafts: by the ledger, against plain decoding (core.speculation.ledger).
* routing: the price of the most capable tier at the time of the decision, less what the answer took.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_TELLING = 32
"""Tokens of a prompt that were read in one go from which on their speed is told."""


@dataclass(slots=True)
class Share:
    """Of one model."""

    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    share: float = 0.0
    """Of all tokens."""
    escalated: int = 0
    """Answers that it began and another model finished."""


@dataclass(slots=True)
class Sums:
    answers: int = 0
    routed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    tiers: dict[str, Share] = field(default_factory=dict)
    saved: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("quantization", "kv", "drafts", "routing"), 0.0)
    )
    estimated: tuple[str, ...] = ("quantization",)
    escalated: int = 0
    shadowed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summed(bodies: Iterable[Mapping[str, Any]]) -> Sums:
    """bodies: as `server.routing.trace` keeps them."""
    sums, reading = Sums(), _Reading()
    for body in bodies:
        _add(sums, reading, body)
    for share in sums.tiers.values():
        share.share = share.tokens / sums.tokens if sums.tokens else 0.0
    return sums


class _Reading:
    """Seconds that a model takes for a token of a prompt, as it was last measured."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def seconds(self, model: str, timings: Mapping[str, Any]) -> float:
        n = timings.get("prompt_n") or 0
        if n >= _TELLING:
            self._known[model] = float(timings.get("prompt_ms") or 0.0) / 1e3 / n
        return self._known.get(model, 0.0)


def _add(sums: Sums, reading: _Reading, body: Mapping[str, Any]) -> None:
    timings, route = body.get("timings") or {}, body.get("route") or {}
    model = str(route.get("tier") or body.get("model") or "")
    tokens = int(timings.get("predicted_n") or 0)
    spent: Mapping[str, float] = route.get("seconds") or {}
    seconds = sum(spent.values()) if spent else (timings.get("prompt_ms", 0.0) + timings.get("predicted_ms", 0.0)) / 1e3
    own = sums.tiers.setdefault(model, Share())
    own.answers += 1
    own.tokens += tokens
    own.seconds += spent.get(model, 0.0) if spent else seconds
    for name, part in spent.items():
        if name != model:
            sums.tiers.setdefault(name, Share()).seconds += part
            sums.tiers[name].escalated += 1
    sums.answers += 1
    sums.tokens += tokens
    sums.seconds += seconds
    sums.prompt_tokens += int(timings.get("prompt_n") or 0) + int(timings.get("cache_n") or 0)
    sums.cached_tokens += int(timings.get("cache_n") or 0)
    sums.drafted += int(timings.get("draft_n") or 0)
    sums.accepted += int(timings.get("draft_n_accepted") or 0)
    bits = float(body.get("bits") or 0.0)
    if 0.0 < bits < 16.0:
        sums.saved["quantization"] += float(timings.get("predicted_ms") or 0.0) / 1e3 * (16.0 / bits - 1.0)
    sums.saved["kv"] += int(timings.get("cache_n") or 0) * reading.seconds(model, timings)
    sums.saved["drafts"] += float(timings.get("draft_ms_won") or 0.0) / 1e3
    if route:
        sums.routed += 1
        sums.escalated += bool(route.get("escalated"))
        sums.shadowed += bool(route.get("shadowed"))
        sums.saved["routing"] += _routing(route, tokens, seconds)


def _routing(route: Mapping[str, Any], tokens: int, seconds: float) -> float:
    """The most capable tier is the last of the prices; its price per token is that of the answer it would have
    given."""
    prices = route.get("price") or {}
    top = list(prices)[-1] if prices else ""
    if not top or (route.get("tier") == top and not route.get("escalated")):
        return 0.0
    large = prices[top]
    expected = int(route.get("expected_n") or 0)
    decode = float(large.get("decode_s") or 0.0) * (tokens / expected if expected else 1.0)
    return float(large.get("prefill_s") or 0.0) + float(large.get("load_s") or 0.0) + decode - seconds
