"""Up to which doubt a small answer may stay, for each kind of prompt, so that quality stays above a floor. Pure.

The rule of `auto` is replayed on prompts that both tiers have answered: where the doubt of the small answer is at most
the threshold of its kind it stays, and elsewhere the large tier's counts. Of all thresholds from a coarse grid, those
are chosen that save the most seconds while the lower bound of quality is above the floor. The choice is made from the
same prompts, which flatters it: so each kind that stays small at all is booked half a loss, and the held-out half,
which no choice has seen, tells how good it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fireside.proving.judging import Outcome
from fireside.proving.statistics import Z_ONE_SIDED, Interval, Tally

LEAST = 24
"""Prompts with both answers from which something may be concluded; the held-out half comes on top."""
LEAST_OF_KIND = 4
"""Prompts of a kind below which it gets no threshold of its own and goes with the large tier."""
CUTS = (0.25, 0.5, 0.75, 0.9)
"""Quantiles of all doubts that are the thresholds to choose from, beside 0 (never) and 1 (always)."""
DISCRETION = 0.5
"""Losses that are booked for a kind that stays small."""


class Replay(NamedTuple):
    """A prompt that both tiers have answered."""

    kind: str
    doubt: float
    outcome: Outcome
    """Of the small answer against the large one."""
    small_s: float
    large_s: float


class Point(NamedTuple):
    """One threshold for all kinds, for the plot."""

    threshold: float
    quality: Interval
    seconds: float
    """As a share of those of the large tier alone."""


class Choice(NamedTuple):
    kinds: dict[str, float]
    """Thresholds; 0 sends a kind to the large tier at once."""
    bound: float
    """The lower bound of quality by replay."""
    seconds: float
    """By replay, as a share of those of the large tier alone."""
    why_not: str = ""
    """Why there is no threshold, in words."""

    @property
    def is_made(self) -> bool:
        return not self.why_not


def enough(n: int, floor: float) -> str:
    """Why `n` prompts are too few, in words; empty where they are enough."""
    needed = least_for(floor)
    if n >= needed:
        return ""
    return (
        f"{n} prompts are too few to choose thresholds with: a floor of {floor:.2f} needs at least {needed}, "
        "and as many again to look at the choice"
    )


def least_for(floor: float) -> int:
    """The fewest prompts that can prove a floor: so many that not one loss among them is enough."""
    n = LEAST
    while Tally(0, n, 0).quality(Z_ONE_SIDED).low < floor and n < 100_000:
        n += 1
    return n


def choose(replays: Sequence[Replay], floor: float) -> Choice:
    """The thresholds for a floor; none, with the reason, where nothing may be concluded."""
    if why := enough(len(replays), floor):
        return Choice({}, 0.0, 1.0, why)
    grid = _grid([replay.doubt for replay in replays])
    by_kind: dict[str, list[Replay]] = {}
    for replay in replays:
        by_kind.setdefault(replay.kind, []).append(replay)
    total = sum(replay.large_s for replay in replays)
    best: dict[tuple[float, float], _Plan] = {(0.0, 0.0): _Plan(0.0, {})}
    for kind, members in sorted(by_kind.items()):
        options = _options(members, grid if len(members) >= LEAST_OF_KIND else (0.0,), floor)
        best = _extended(best, kind, options)
    allowed = [
        (plan.saved, -losses, bound, plan)
        for (wins, losses), plan in best.items()
        if (bound := _bound(wins, losses, len(replays))) >= floor
    ]
    saved, _, bound, plan = max(allowed, key=lambda entry: entry[:3], default=(0.0, 0.0, 0.0, _Plan(0.0, {})))
    if saved <= 0 or total <= 0:
        kept = tally(replays).quality()
        why = (
            f"the small tier alone is at {kept.value:.2f} ({kept.low:.2f} to {kept.high:.2f}) of the large one, and "
            f"no doubt tells good answers from bad ones well enough for a floor of {floor:.2f}"
        )
        return Choice({}, 0.0, 1.0, why)
    return Choice(plan.kinds, bound, 1.0 - saved / total)


class _Plan(NamedTuple):
    saved: float
    """Seconds against the large tier alone."""
    kinds: dict[str, float]


class _Option(NamedTuple):
    threshold: float
    wins: float
    losses: float
    saved: float


def _options(members: Sequence[Replay], grid: Sequence[float], floor: float) -> list[_Option]:
    """Those whose small answers are by themselves not below the floor: nothing is bought with known losses."""
    found = [_Option(0.0, 0.0, 0.0, 0.0)]
    for threshold in grid:
        if threshold <= 0:
            continue
        small = [replay for replay in members if replay.doubt <= threshold]
        if not small or tally(small).quality().value < floor:
            continue
        went_up = [replay for replay in members if replay.doubt > threshold]
        # Whatever goes up was begun by the small tier first.
        saved = sum(r.large_s - r.small_s for r in small) - sum(r.small_s for r in went_up)
        wins = float(sum(r.outcome == "win" for r in small))
        losses = sum(r.outcome == "loss" for r in small) + DISCRETION
        found.append(_Option(threshold, wins, losses, saved))
    return found


def _extended(
    best: Mapping[tuple[float, float], _Plan], kind: str, options: Sequence[_Option]
) -> dict[tuple[float, float], _Plan]:
    """All sums of wins and losses with one more kind, each with the plan that saves most."""
    found: dict[tuple[float, float], _Plan] = {}
    for (wins, losses), plan in best.items():
        for option in options:
            key = (wins + option.wins, losses + option.losses)
            saved = plan.saved + option.saved
            if key not in found or saved > found[key].saved:
                found[key] = _Plan(saved, {**plan.kinds, kind: option.threshold})
    return found


def _bound(wins: float, losses: float, n: int) -> float:
    # Tally counts whole prompts; halves of a loss are rounded up.
    whole = int(losses + 0.5)
    return Tally(int(wins), max(0, n - int(wins) - whole), whole).quality(Z_ONE_SIDED).low


def curve(replays: Sequence[Replay]) -> list[Point]:
    """What one threshold for all kinds would do, from 0 to 1."""
    total = sum(replay.large_s for replay in replays)
    found = []
    for threshold in sorted({0.0, 1.0, *(round(replay.doubt, 3) for replay in replays)}):
        small = [r for r in replays if threshold > 0 and r.doubt <= threshold]
        wins, losses = (sum(r.outcome == name for r in small) for name in ("win", "loss"))
        spent = sum(r.small_s for r in replays if threshold > 0)
        spent += sum(r.large_s for r in replays if threshold <= 0 or r.doubt > threshold)
        quality = Tally(wins, len(replays) - wins - losses, losses).quality()
        found.append(Point(threshold, quality, spent / total if total > 0 else 1.0))
    return found


def tally(replays: Sequence[Replay]) -> Tally:
    counts = {name: sum(r.outcome == name for r in replays) for name in ("win", "tie", "loss")}
    return Tally(**counts)


def _grid(doubts: Sequence[float]) -> list[float]:
    ordered = sorted(doubts)
    cuts = {round(ordered[min(len(ordered) - 1, int(cut * len(ordered)))], 3) for cut in CUTS}
    return sorted({cut for cut in cuts if 0 < cut < 1} | {1.0})
