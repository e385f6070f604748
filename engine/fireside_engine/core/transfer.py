"""How fast bytes come and when the last one will: sums over the last seconds, so that a stall or a burst shows soon."""

from __future__ import annotations

from collections import deque

WINDOW = 10.0
"""Seconds that the rate looks back."""
_STEP = 0.1
"""Seconds between two remembered points: more of them would not be told apart."""
_LEAST = 0.5
"""Seconds before a rate is told at all."""


class Meter:
    """Of one transfer. Times come in, in seconds of a clock that never goes back."""

    def __init__(self, total: int, done: int, now: float) -> None:
        """`done` bytes were there before: they count as done, and not as fast."""
        self.total = total
        self.done = done
        self._points = deque([(now, done)])

    def add(self, count: int, now: float) -> None:
        """`count` more bytes are there; less than none when some were thrown away."""
        self.done += count
        if count < 0:
            # What was thrown away was fetched all the same; a rate across it would be of nothing.
            self._points = deque([(now, self.done)])
        elif now - self._points[-1][0] >= _STEP:
            self._points.append((now, self.done))
        while len(self._points) > 2 and now - self._points[1][0] >= WINDOW:
            self._points.popleft()

    def rate(self, now: float) -> float | None:
        """Bytes per second; None until it can be told."""
        since, before = self._points[0]
        seconds = now - since
        return (self.done - before) / seconds if seconds >= _LEAST else None

    def seconds_left(self, now: float) -> float | None:
        """None while nothing comes."""
        rate = self.rate(now)
        return max(0, self.total - self.done) / rate if rate else None
