"""What batches cost on this machine, in single steps of the same moment.

Another program on the machine slows batches and single steps alike, so what is learned is their ratio, taken where the
single steps before and after a batch agree: then the load was the same for all of them. It is a median, which a hiccup
does not move. The curve has stairs, as kernels work on fixed numbers of rows: a batch of 8 may cost less than one of 5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median

SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
"""Rows of a stream in a batch; drafts between two are padded where that is cheaper."""
DEPTHS = (1024, 4096, 16384)
"""Costs are kept apart by how long the KV is: attention grows, weights do not."""
FRESH = 24
"""A single step is taken again after so many batches without one."""
SOON = 4
"""The same, while the cost of one of them is not known well."""
KEPT = 7
LATEST = 3
"""Single steps whose median is that of the moment."""
AGREE = 1.3
"""Single steps that differ by more than this factor were taken under another load."""
FEW = 3
"""With fewer ratios than this, what the probe says counts as one of them."""
HOPE = 0.85
"""A ratio that was never seen may be better than it is said to be by this factor."""
STALE = 250
"""For every so many batches without one of its size, the oldest of what was seen of that size is forgotten: what made
it dear may be over, and nobody would notice."""

Key = tuple[int, int, int]
"""Depth, streams, rows of each."""


class Costs:
    """`probed`: seconds of one batch by its rows, as measured at load. Pure state."""

    def __init__(self, probed: Mapping[int, float], known: Mapping[Key, Sequence[float]] | None = None) -> None:
        single = probed.get(1, 0.0)
        self._probed = {1: 1.0}
        if single > 0.0:
            self._probed |= {size: max(1.0, s / single) for size, s in probed.items() if size > 1}
        self._seen: dict[Key, deque[float]] = {k: deque(v, maxlen=KEPT) for k, v in (known or {}).items()}
        self._last: dict[Key, int] = {}
        self._plain: dict[int, deque[float]] = {}
        self._between: list[tuple[Key, float]] = []
        """Batches since the last single step, with their seconds."""
        self._ratios: dict[Key, float] = {}
        """What was worked out since the last batch that taught something."""
        self._batches = 0
        self._plain_at = -FRESH

    @staticmethod
    def depth_of(length: int) -> int:
        return sum(length >= edge for edge in DEPTHS)

    def step(self, depth: int) -> float:
        """Seconds of a single step now; 0 while none was seen."""
        plain = self._plain.get(depth)
        return median(plain) if plain else 0.0

    def is_known(self, depth: int, streams: int, rows: int) -> bool:
        """Whether its cost was measured often enough to be believed rather than a single measurement."""
        return streams == rows == 1 or len(self._seen.get((depth, streams, rows), ())) >= FEW

    @property
    def is_fresh(self) -> bool:
        """A plain batch was measured lately."""
        known = all(self.is_known(*key) for key, _ in self._between)
        return self._batches - self._plain_at < (FRESH if known else SOON)

    def ratio(self, depth: int, streams: int, rows: int) -> float:
        """Cost of a batch in single steps."""
        if streams == rows == 1:
            return 1.0
        key = (depth, streams, rows)
        if key not in self._ratios:
            self._ratios[key] = self._ratio(key)
        return self._ratios[key]

    def _ratio(self, key: Key) -> float:
        depth, streams, rows = key
        seen = self._seen.get(key, deque())
        forgotten = (self._batches - self._last.get(key, 0)) // STALE if rows > 1 else 0
        if len(seen) > forgotten:
            values = list(seen)[forgotten:]
            if len(values) < FEW and rows > 1:
                values.append(self._interpolated(streams * rows) * self._error())
            return max(1.0, median(values))
        nearest = [
            median(values)
            for (_, _, _), values in sorted(
                ((k, v) for k, v in self._seen.items() if k[1:] == (streams, rows) and v),
                key=lambda item: abs(item[0][0] - depth),
            )[:1]
        ]
        guess = nearest[0] if nearest else self._interpolated(streams * rows) * self._error()
        return guess if rows == 1 else max(1.0, guess * HOPE)

    def _error(self) -> float:
        """How much dearer batches are than the probe saw, which looked once, at whatever moment that was."""
        errors = [
            median(values) / self._interpolated(streams * rows)
            for (_, streams, rows), values in self._seen.items()
            if rows > 1 and len(values) > 1
        ]
        return median(errors) if errors else 1.0

    def is_measured(self, depth: int, streams: int, rows: int) -> bool:
        """Whether such a batch was seen while decoding, or is a single step; otherwise its cost is the probe's."""
        return streams == rows == 1 or bool(self._seen.get((depth, streams, rows)))

    def _interpolated(self, rows: int) -> float:
        sizes = sorted(self._probed)
        if rows in self._probed:
            return self._probed[rows]
        below = max((size for size in sizes if size < rows), default=1)
        above = min((size for size in sizes if size > rows), default=0)
        if above:
            share = (rows - below) / (above - below)
            return self._probed[below] + share * (self._probed[above] - self._probed[below])
        # Beyond the probe: as the widest probed batch costs for each of its rows, or a row for a step if there is none.
        per_row = self._probed[below] / below if below > 1 else 1.0
        return self._probed[below] + (rows - below) * per_row

    def observe(self, depth: int, streams: int, rows: int, seconds: float) -> None:
        """A batch was computed."""
        if seconds <= 0.0:
            return
        self._batches += 1
        if self._batches % STALE == 0:
            self._ratios.clear()
        key = (depth, streams, rows)
        self._last[key] = self._batches
        single = self.step(depth)
        if rows == 1:
            if streams > 1 and single > 0.0 and self._batches - self._plain_at <= 4:
                self._learn(key, seconds / single)
            self._plain_at = self._batches
            now = seconds / self.ratio(depth, streams, 1)
            self._learn_between(depth, single, now)
            self._plain.setdefault(depth, deque(maxlen=LATEST)).append(now)
        elif single > 0.0 and self.is_fresh:
            self._between.append((key, seconds))

    def _learn_between(self, depth: int, before: float, after: float) -> None:
        between, self._between = self._between, []
        if before > 0.0 and 1 / AGREE < after / before < AGREE:
            for key, seconds in between:
                if key[0] == depth:
                    self._learn(key, 2.0 * seconds / (before + after))

    def _learn(self, key: Key, ratio: float) -> None:
        self._seen.setdefault(key, deque(maxlen=KEPT)).append(ratio)
        self._ratios.clear()

    def known(self) -> dict[Key, list[float]]:
        """What was seen, to be kept for the next load."""
        return {key: list(values) for key, values in self._seen.items()}
