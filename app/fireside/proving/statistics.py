"""Intervals for what was counted and timed. Pure; no random number that its caller did not seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959964
"""Of an interval with 95 %, both sides."""
Z_ONE_SIDED = 1.644854
"""Of a lower bound with 95 %."""
RESAMPLES = 1000


class Interval(NamedTuple):
    value: float
    low: float
    high: float


class Tally(NamedTuple):
    """Comparisons of an arm with the most capable tier, on the same prompts."""

    win: int = 0
    tie: int = 0
    loss: int = 0

    @property
    def n(self) -> int:
        return self.win + self.tie + self.loss

    def quality(self, z: float = Z_95) -> Interval:
        """How good the arm is, where the most capable tier is 1: 1 + (wins - losses) / n.

        The interval is that of Agresti and Min (2005) for matched pairs: half a pair is added to each of the four
        cells, so that few prompts without a loss are no proof of anything.
        """
        if self.n == 0:
            return Interval(1.0, 0.0, 2.0)
        n, win, loss = self.n + 2.0, self.win + 0.5, self.loss + 0.5
        centre = (win - loss) / n
        error = z * math.sqrt(max(0.0, win + loss - (win - loss) ** 2 / n)) / n
        value = 1.0 + (self.win - self.loss) / self.n
        return Interval(value, max(0.0, 1.0 + centre - error), min(2.0, 1.0 + centre + error))

    def kept(self, z: float = Z_95) -> Interval:
        """The share of prompts on which the arm is at least as good."""
        return wilson(self.win + self.tie, self.n, z)


def wilson(hits: int, n: int, z: float = Z_95) -> Interval:
    """Wilson's interval (1927) of a share."""
    if n == 0:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = hits / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    error = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(share, max(0.0, min(share, centre - error)), min(1.0, max(share, centre + error)))


def ratio(pairs: Sequence[tuple[float, float]], seed: int = 0, resamples: int = RESAMPLES) -> Interval | None:
    """The sum of the firsts as a share of the sum of the seconds, with a bootstrap interval over pairs; 95 %.

    None without pairs, or where the seconds sum up to nothing.
    """
    total = sum(b for _, b in pairs)
    if not pairs or total <= 0:
        return None
    draw = random.Random(seed)
    found = []
    for _ in range(resamples):
        sample = draw.choices(pairs, k=len(pairs))
        below = sum(b for _, b in sample)
        found.append(sum(a for a, _ in sample) / below if below > 0 else math.inf)
    found.sort()
    low, high = found[int(0.025 * resamples)], found[min(resamples - 1, int(0.975 * resamples))]
    return Interval(sum(a for a, _ in pairs) / total, low, high)


def difference(a: Tally, b: Tally) -> Interval:
    """Share kept of `a` less that of `b`, for different prompts: Newcombe's interval (1998, his method 10)."""
    x, y = a.kept(), b.kept()
    value = x.value - y.value
    low = value - math.hypot(x.value - x.low, y.high - y.value)
    high = value + math.hypot(x.high - x.value, y.value - y.low)
    return Interval(value, max(-1.0, low), min(1.0, high))
