"""Whether the draft model has its place in memory: it leaves when it stays useless, and may come back for a trial.

What made it useless may change: another kind of work, a machine that is less busy. So it is tried again after an
absence that doubles each time, only while nothing is to be computed, and only if it could pay at all. Pure state.
"""

from __future__ import annotations

from enum import StrEnum

FIRST_ABSENCE = 8192
"""Tokens generated without it before it is tried again."""
MOST_DOUBLINGS = 6


class Wish(StrEnum):
    FREE = "free"
    LOAD = "load"


class Tenure:
    """Of one draft model, present from the start."""

    def __init__(self) -> None:
        self.is_present = True
        self._is_changing = False
        self._absences = 0
        self._worked = 0

    @property
    def needed(self) -> int:
        """Tokens of work that an absence lasts."""
        return FIRST_ABSENCE << min(MOST_DOUBLINGS, max(0, self._absences - 1))

    @property
    def is_over(self) -> bool:
        """An absence lasted long enough."""
        return not self.is_present and self._worked >= self.needed

    def worked(self, tokens: int) -> None:
        """So many were generated without it."""
        if not self.is_present:
            self._worked += tokens

    def wish(self, *, useless: bool, could_pay: bool, idle: bool) -> Wish | None:
        """What is to be done now; whoever is told does it, and says `left`, `came` or `stayed_away`."""
        if self._is_changing:
            return None
        if self.is_present and useless:
            self._is_changing = True
            return Wish.FREE
        if self.is_over and idle and could_pay:
            self._is_changing = True
            return Wish.LOAD
        return None

    def left(self) -> None:
        self.is_present = self._is_changing = False
        self._absences += 1
        self._worked = 0

    def came(self) -> None:
        self.is_present = True
        self._is_changing = False

    def stayed_away(self) -> None:
        """It could not be loaded: there is no room, or its file is gone."""
        self._is_changing = False
        self._absences += 1
        self._worked = 0
