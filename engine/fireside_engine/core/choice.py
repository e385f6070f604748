"""Which of the quantizations of a model is taken, and why. Pure.

The rule, most important first:

1. Types that lose too much for the size of the model, and types that another one beats in size and quality at once,
   are never taken unasked.
2. While no file reaches the target of context, the smallest goes, since it gets the longest one.
3. Of the files that reach it: speed up to its target, then the band of quality, then speed, then the smaller loss.

With more main memory a machine never gets a shorter context, less speed up to the target, or a lower band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fireside_engine.core.fit import Candidate, Plan, Wish, plan_for, rungs, speed_step, target_context
from fireside_engine.core.footprint import Footprint
from fireside_engine.core.machine import Machine, Shortage, shortages
from fireside_engine.core.placement import Costs, footprint
from fireside_engine.core.quality import DOMINATED, worst_allowed
from fireside_engine.core.speed import Book

_TOLD_GAIN = 1.05
"""From here on, what drafts gain is part of the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one candidate."""

    candidate: Candidate
    plan: Plan | None
    short: tuple[Shortage, ...] = ()
    """Without a plan: what its smallest context lacks."""
    smallest: Footprint | None = None
    """Without a plan: what that context would take."""
    against: str = ""
    """Why it is not taken unasked although it fits; "" where nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """All candidates, and the one to take."""

    rows: tuple[Row, ...]
    pick: Row | None
    reason: str
    """One sentence."""


def assess(
    candidate: Candidate,
    machine: Machine,
    wish: Wish,
    costs: Costs,
    book: Book,
    overhead: int = 0,
    draft: Candidate | None = None,
) -> Row:
    """One candidate by itself. A draft model is left out where both together would leave it less context."""
    plan = plan_for(candidate, machine, wish, costs, book, overhead)
    if plan is not None and draft is not None:
        both = plan_for(candidate, machine, wish, costs, book, overhead, draft)
        if both is not None and both.setup.n_ctx >= plan.setup.n_ctx:
            plan = both
    if plan is not None:
        return Row(candidate, plan)
    rung = rungs(candidate.shape, wish)[0]
    cost = costs(candidate.shape, rung)
    smallest = footprint(candidate.shape, rung, cost, machine, overhead)
    return Row(candidate, None, shortages(machine, smallest), smallest)


def choose(rows: Sequence[Row], wish: Wish) -> Choice:
    """Among the quantizations of one model."""
    judged = tuple(replace(row, against=_against(row, rows)) for row in rows)
    fitting = [row for row in judged if row.plan is not None]
    if not fitting:
        return Choice(judged, None, "No quantization of it fits this machine now.")
    allowed = [row for row in fitting if not row.against or len(judged) == 1]
    if not allowed:
        least = min(fitting, key=lambda row: row.candidate.quality.kld)
        against = f"{least.candidate.quant} would fit, but: {least.against}"
        return Choice(judged, None, f"No quantization of it is good enough and fits; {against}.")
    reached = [row for row in allowed if _reaches(row, wish)]
    if not reached:
        pick = min(allowed, key=lambda row: (row.candidate.shape.weights, row.candidate.quality.kld))
        return Choice(judged, pick, _why_smallest(pick, wish))
    pick = max(reached, key=lambda row: _merit(row, wish))
    return Choice(judged, pick, _why(pick, reached, judged, wish))


def _against(row: Row, rows: Sequence[Row]) -> str:
    """Does not depend on memory, so that more of it never changes the verdict."""
    candidate, quality = row.candidate, row.candidate.quality
    winner = DOMINATED.get(candidate.quant)
    if winner and not quality.measured and any(other.candidate.quant not in DOMINATED for other in rows):
        return f"{winner} is as small and closer to the original"
    if quality.rank > worst_allowed(candidate.shape.n_params):
        return f"{quality.band.name} loss"
    return ""


def _rate(row: Row) -> float:
    return row.plan.speed.expected if row.plan is not None else 0.0


def _reaches(row: Row, wish: Wish) -> bool:
    return row.plan is not None and row.plan.setup.n_ctx >= target_context(row.candidate.shape, wish)


def _merit(row: Row, wish: Wish) -> tuple[float, ...]:
    quality = row.candidate.quality
    return (
        speed_step(_rate(row), wish.speed),
        -quality.rank,
        speed_step(_rate(row)),
        -quality.kld,
        -row.candidate.shape.weights,
    )


def _why_smallest(pick: Row, wish: Wish) -> str:
    plan = pick.plan
    got = plan.setup.n_ctx if plan is not None else 0
    wanted = target_context(pick.candidate.shape, wish)
    return (
        f"{pick.candidate.quant} is the smallest that is good enough, "
        f"and memory leaves it {got:,} of {wanted:,} tokens of context."
    )


def _why(pick: Row, reached: Sequence[Row], rows: Sequence[Row], wish: Wish) -> str:
    candidate, plan = pick.candidate, pick.plan
    assert plan is not None  # noqa: S101 - it reached the target of context
    rate = plan.speed.expected
    drafts = " with drafts" if plan.speed.gain >= _TOLD_GAIN else ""
    how = f"{plan.setup.n_ctx:,} tokens of context fit"
    if rate >= wish.speed:
        how += f" at about {rate:.0f} tokens/s{drafts}"
    better = [row for row in rows if row.candidate.quality.kld < candidate.quality.kld and row is not pick]
    if not better:
        return f"{candidate.quant} has the best quality there is, and {how}."
    nearest = min(better, key=lambda row: -row.candidate.quality.kld)
    name = nearest.candidate.quant
    if nearest.plan is None:
        return f"{candidate.quant} is the best quality that fits: {how}; {name} does not fit."
    if nearest not in reached and not nearest.against:
        return f"{candidate.quant} is the best quality with the whole context: {how}; {name} would have less."
    if nearest.against:
        return f"{candidate.quant} is the best choice here: {how}; against {name}: {nearest.against}."
    if rate < wish.speed:
        return (
            f"{candidate.quant} is the fastest that is good enough here, about {rate:.1f} tokens/s{drafts}, and {how}."
        )
    return f"{candidate.quant} is {candidate.quality.band.name}, and {how}; {name} costs speed for little."
