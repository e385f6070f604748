"""Which tier answers a prompt, decided before the answer exists, with the reason in one sentence. Pure.

In this order: what the request forces, what the user's rules say, `exact`, the room of the context, loops of tools and
chains of schemas, which never go down, the price in seconds, which a change of tier has to earn, and else the cheapest
tier, whose doubt is looked at while it writes (core.routing.doubt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fireside_engine.core.routing.features import Features
from fireside_engine.core.routing.price import Price
from fireside_engine.core.routing.roster import Mode, Roster, Rule, Thresholds

EARN = 1.1
"""Staying may cost this much more than going, before going is worth it: prices are estimates."""


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier turns of the same conversation were answered by."""

    tier: int
    """Of the latest turn."""
    in_loop: int | None = None
    """The highest since the user last spoke."""
    constrained: bool = False
    """The latest answer had a schema."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision rests on."""

    roster: Roster
    mode: Mode
    features: Features
    prices: Sequence[Price]
    """By tier."""
    thresholds: Thresholds
    grounds: str
    """Of the thresholds, in words."""
    past: Past | None = None
    rules: Sequence[Rule] = ()
    last_words: str = ""
    """Of the user, for rules."""
    forced: str = ""
    """A tier's name, from the request."""


@dataclass(frozen=True, slots=True)
class Decision:
    tier: int
    reason: str
    watch: bool
    """Its doubt is looked at, and may escalate the answer."""
    threshold: float
    tolerance: float


def decide(now: Situation) -> Decision:
    """Raises ValueError for a forced tier that the roster does not have."""
    names = [tier.name for tier in now.roster.tiers]
    top = now.roster.top
    if now.forced:
        tier = now.roster.index(now.forced)
        if tier is None:
            raise ValueError(f"the roster has no tier {now.forced}")
        return _settled(now, tier, f"{names[tier]}, because the request asks for this tier")
    for number, rule in enumerate(now.rules, 1):
        if meets(rule, now.features, now.last_words) and (tier := _named(now.roster, rule.tier)) is not None:
            return _settled(now, tier, f"{names[tier]}, by rule {number} of your settings")
    if now.mode == "exact":
        return _settled(now, top, f"{names[top]}: in exact mode smaller models only draft")
    lowest = _roomy(now)
    if lowest == top:
        return _settled(now, top, f"{names[top]}, because the context of smaller tiers is too short for this prompt")
    if (held := _held(now)) is not None and held[0] > lowest:
        return _settled(now, held[0], f"stayed with {names[held[0]]}: {held[1]}", watch=held[0] < top)
    return _by_price(now, lowest)


def meets(rule: Rule, features: Features, words: str) -> bool:
    """Every condition that is set; a rule without any fits all prompts."""
    return (
        (not rule.kind or rule.kind == features.kind)
        and (not rule.contains or rule.contains.casefold() in words.casefold())
        and features.n_chars > rule.longer_than - (rule.longer_than == 0)
        and rule.tools in (None, features.tools)
    )


def _by_price(now: Situation, lowest: int) -> Decision:
    names, prices = [tier.name for tier in now.roster.tiers], now.prices
    tier, top = lowest, now.roster.top
    if now.thresholds.of(now.features.kind) <= 0.0:
        return _settled(now, top, f"{names[top]}, because no doubt at all is borne here ({now.grounds})")
    if now.past is not None and now.past.tier > lowest:
        # Somebody above answered last, and has the conversation in KV.
        stay, go = now.past.tier, lowest
        if prices[stay].total_s <= prices[go].total_s * EARN:
            saved = max(0.0, prices[stay].decode_s - prices[go].decode_s)
            words = (
                f"stayed with {names[stay]}: {names[go]} would read {prices[go].prefill_n:,} tokens in "
                f"{prices[go].begin_s:.1f} s to save {saved:.1f} s"
            )
            return _settled(now, stay, words, watch=stay < now.roster.top)
    cheapest = min(range(lowest, len(prices)), key=lambda i: (prices[i].total_s, -i))
    # A guess is no reason to leave the cheapest tier, least of all for an engine elsewhere.
    if cheapest > tier and not prices[cheapest].guess and prices[cheapest].total_s * EARN < prices[tier].total_s:
        words = f"{names[cheapest]}, which is more capable and, at {_s(prices[cheapest])}"
        words += f", no slower than {_s(prices[tier])}"
        return _settled(now, cheapest, words, watch=cheapest < now.roster.top)
    threshold = now.thresholds.of(now.features.kind)
    reason = (
        f"{names[tier]} first, about {_s(prices[tier])} against {_s(prices[-1])}; doubt above {threshold:.2f} goes up"
    )
    return Decision(tier, f"{reason} ({now.grounds})", True, threshold, now.thresholds.tolerance)


def _held(now: Situation) -> tuple[int, str] | None:
    """The tier below which this answer must not go, and why."""
    features, past = now.features, now.past
    if features.tool_loop:
        if past is None or past.in_loop is None:
            return now.roster.top, "a loop of tools whose beginning is not known never goes down"
        return past.in_loop, "a loop of tools never goes down"
    if features.constrained and past is not None and past.constrained:
        return past.tier, "a chain of answers with schemas never goes down"
    return None


def _roomy(now: Situation) -> int:
    """The lowest tier whose context has room."""
    for i, tier in enumerate(now.roster.tiers):
        if tier.n_ctx is None or now.features.n_tokens < 0.9 * tier.n_ctx:
            return i
    return now.roster.top


def _named(roster: Roster, name: str) -> int | None:
    return {"small": 0, "large": roster.top}.get(name, roster.index(name))


def _settled(now: Situation, tier: int, reason: str, *, watch: bool = False) -> Decision:
    threshold = now.thresholds.of(now.features.kind)
    tolerance = 0.0 if now.mode == "exact" else now.thresholds.tolerance
    return Decision(tier, reason, watch, threshold, tolerance)


def _s(price: Price) -> str:
    return f"{price.total_s:.1f} s"
