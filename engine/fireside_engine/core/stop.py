"""Stop strings: text is held back only while it might be the start of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Released:
    """Text that may be shown, and the stop string met, if any."""

    text: str
    stop: str | None = None


class StopMachine:
    """Feed text in any pieces; what comes out never holds a stop string, nor the beginning of one completed later.

    Matching is on text, not on tokens: the same words may be cut into tokens in several ways. Of several stop strings
    the one that begins first wins, the longest among those that begin together.
    """

    __slots__ = ("_held", "_stops")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(sorted({stop for stop in stops if stop}, key=len, reverse=True))
        self._held = ""

    def push(self, text: str) -> Released:
        if not self._stops:
            return Released(text)
        buffer = self._held + text
        found = min(
            ((at, -len(stop), stop) for stop in self._stops if (at := buffer.find(stop)) >= 0),
            default=None,
        )
        # A longer stop string may have begun earlier and still be open: then nothing is decided yet.
        hold = self._open_from(buffer)
        if found is not None and found[0] <= hold:
            self._held = ""
            return Released(buffer[: found[0]], found[2])
        self._held = buffer[hold:]
        return Released(buffer[:hold])

    def finish(self) -> Released:
        """The answer has ended: what was held back is text after all, unless a stop string is complete in it."""
        buffer, self._held = self._held, ""
        found = min(
            ((at, -len(stop), stop) for stop in self._stops if (at := buffer.find(stop)) >= 0),
            default=None,
        )
        if found is None:
            return Released(buffer)
        return Released(buffer[: found[0]], found[2])

    def _open_from(self, buffer: str) -> int:
        """First index from which the rest of `buffer` is a proper prefix of a stop string; its length if none is."""
        longest = len(self._stops[0]) - 1
        for at in range(max(0, len(buffer) - longest), len(buffer)):
            rest = buffer[at:]
            if any(len(stop) > len(rest) and stop.startswith(rest) for stop in self._stops):
                return at
        return len(buffer)
