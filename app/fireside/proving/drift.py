"""Whether the traffic still is what was proved: routed turns that the large model answered too, in idle time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fireside.proving.items import Item
from fireside.proving.kinds import KINDS, kind_of
from fireside.proving.statistics import Interval, Tally, difference
from fireside.wire import JsonObject

LEAST = 20
"""Shadows from which something may be said."""


class Shadow(NamedTuple):
    """A turn that a small tier answered, and what the large one would have said."""

    id: str
    item: Item
    text: str
    large_text: str
    doubt: float | None


class Drift(NamedTuple):
    kinds: Mapping[str, Tally]
    """Of the shadows: the routed answer against the large tier's."""
    total: Tally
    proved: Tally
    """What the proof found for the small tier where it was allowed to answer."""
    change: Interval
    """Of the share that is at least as good, since the proof."""
    verdict: str

    @property
    def is_drift(self) -> bool:
        return self.total.n >= LEAST and self.change.high < 0


def read_shadows(body: JsonObject) -> list[Shadow]:
    """What the engine tells, without those that the large tier answered itself or has not answered yet."""
    found = []
    for entry in body.get("shadows") or ():
        messages, text, large = entry.get("messages"), entry.get("text"), entry.get("large_text")
        if not (messages and isinstance(text, str) and isinstance(large, str)):
            continue
        question = str(messages[-1].get("content") or "")
        kind = entry.get("kind") if entry.get("kind") in KINDS else kind_of(question)
        doubt = entry.get("doubt")
        item = Item(f"shadow:{entry['id']}", str(kind), tuple(messages))
        found.append(Shadow(str(entry["id"]), item, text, large, doubt if isinstance(doubt, int | float) else None))
    return found


def drift(outcomes: Iterable[tuple[str, str]], proof: JsonObject | None) -> Drift:
    """`outcomes`: kind of prompt and win, tie or loss of the routed answer; `proof`: as the engine has it."""
    by_kind: dict[str, list[str]] = {}
    for kind, outcome in outcomes:
        by_kind.setdefault(kind, []).append(outcome)
    kinds = {kind: _tally(found) for kind, found in sorted(by_kind.items())}
    total = _tally([outcome for found in by_kind.values() for outcome in found])
    proved = _proved(proof or {})
    change = difference(total, proved)
    return Drift(kinds, total, proved, change, _words(total, proved, change))


def _tally(outcomes: Sequence[str]) -> Tally:
    return Tally(*(sum(outcome == name for outcome in outcomes) for name in ("win", "tie", "loss")))


def _proved(proof: JsonObject) -> Tally:
    """What held of `balanced` on the held-out half, which is what shadows repeat."""
    arms = (proof.get("held_out") or {}).get("arms") or {}
    arm = arms.get("balanced") or arms.get("fast") or {}
    return Tally(*(int(arm.get(name) or 0) for name in ("win", "tie", "loss")))


def _words(total: Tally, proved: Tally, change: Interval) -> str:
    if total.n < LEAST:
        return f"{total.n} shadows are too few to tell; {LEAST} are needed"
    if proved.n == 0:
        return "there is no proof to compare with; `fireside prove` makes one"
    kept = total.kept()
    words = f"{kept.value:.0%} ({kept.low:.0%} to {kept.high:.0%}) of routed answers are as good as the large model's"
    if change.high < 0:
        return f"drift: {words}, {-change.value:.0%} less than when it was proved; run `fireside prove --fresh`"
    if change.low > 0:
        return f"{words}, {change.value:.0%} more than when it was proved; a new proof may allow more"
    return f"no drift: {words}, as when it was proved"
