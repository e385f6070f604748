"""Whether the draft model pays, and for how many tokens. Pure state.

It differs from the other sources in that asking costs time, won or not. So it is asked on trial first, as far as the
ledger allows; where it loses it rests, longer each time; and where it could not win even if most of its tokens were
accepted, it is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from fireside_engine.core.speculation.choice import MARGIN, shortfall
from fireside_engine.core.speculation.costs import SIZES

LONG_LAG = 48
"""Tokens that it did not know, more than a batch of drafts leaves."""
AT_BEST = 0.92
"""Acceptance that no draft model keeps up for long; one that does not pay with it never pays."""
TRIALS = 5
"""Drafts before its acceptance is believed; on trial it drafts single tokens."""
MEASURED = 5
"""Drafts before the cost of its tokens is believed."""
PROVEN = 12.0
"""Judged tokens of late, after which its acceptance is not a guess any more."""
TRIAL = 0.015
"""Share of an answer that may go into reading it for a trial."""
SHORT_LAG = 3
"""So many tokens are read in about the time of one."""
LEAST = 0.4
"""A drafted token of less probability, by the draft model's own view, ends its draft."""
FIRST_REST = 128
"""Tokens without it after it lost."""
GIVE_UP = 6
"""Rests after which it is freed."""


def expected(acceptance: float, k: int) -> float:
    """Tokens of a batch with k drafts, each accepted with this probability."""
    return sum(acceptance**j for j in range(k + 1))


@dataclass(frozen=True, slots=True)
class Outlook:
    """The best number of drafted tokens, and what it promises."""

    k: int
    gain: float
    """Expected rate over that of plain decoding."""
    missing: float
    """Steps that are expected to be lost in the cases in which it loses."""
    won: float = 0.0
    """Steps that are expected to be won, all in all."""

    @property
    def pays(self) -> bool:
        return self.gain > MARGIN and self.won >= self.missing


def outlook(acceptance: float, token_cost: float, ratio: Callable[[int], float], most_rows: int) -> Outlook:
    """token_cost: of a drafted token, in single steps. ratio: cost of a batch of so many rows."""
    best = Outlook(0, 1.0, 0.0)
    for rows in SIZES[1:]:
        if rows > most_rows:
            break
        k = rows - 1
        cost = k * token_cost + ratio(rows)
        gain = expected(acceptance, k) / cost
        if gain > best.gain:
            reach = [acceptance**i for i in range(1, rows)]
            best = Outlook(k, gain, shortfall(reach, cost), 1.0 + sum(reach) - cost)
    return best


def break_even(token_cost: float, ratio: Callable[[int], float], most_rows: int) -> float:
    """The acceptance from which on the draft model pays; above 1 where it never does."""
    for percent in range(30, 101):
        if outlook(percent / 100, token_cost, ratio, most_rows).gain > 1.0:
            return percent / 100
    return 1.01


@dataclass(slots=True)
class ModelDrafting:
    """One draft model as the controller sees it."""

    first_cost: float
    """Of a token, in single steps of the large model, before any was measured: the ratio of the files' sizes."""
    useless: str = ""
    """Why it was given up; empty while it may be used."""
    _lag_cost: float = field(init=False)
    _costs: deque[float] = field(default_factory=lambda: deque(maxlen=9))
    _length: float = 64.0
    """Of an answer, as far as is known."""
    _met: float = 0.0
    _tried: float = 0.0
    _drafts: int = 0
    _rests: int = 0
    _rest_left: int = 0

    def __post_init__(self) -> None:
        # Reading is a few times faster than writing.
        self._lag_cost = self.first_cost * 0.3

    @property
    def token_cost(self) -> float:
        return median(self._costs) if self._costs else self.first_cost

    @property
    def acceptance(self) -> float:
        """Of its tokens, with a hopeful first guess."""
        return (self._met + 3 * 0.85) / (self._tried + 3)

    def answered(self, tokens: int) -> None:
        """An answer of so many tokens ended."""
        self._length += 0.3 * (tokens - self._length)

    def worth_reading(self, steps: float, gain: float, remaining: int) -> bool:
        """Whether it should read what it does not know, which takes so many steps. gain: expected of its drafts.

        Half of what it may win for the rest of an answer has to pay for it; and while little is known of it, no more
        than TRIAL of the answer.
        """
        horizon = min(float(remaining), self._length)
        proven = self._tried >= PROVEN
        return steps <= 0.5 * (gain - 1.0) * horizon and (proven or steps <= TRIAL * horizon)

    def plain(self, tokens: int) -> None:
        """So many tokens were made without it."""
        self._rest_left = max(0, self._rest_left - tokens)

    def look(self, ratio: Callable[[int], float], most_rows: int, room: int) -> Outlook | None:
        """What to draft now; None for nothing. room: rows that there is room for, which an answer's end makes few."""
        if self.useless or self._rest_left:
            return None
        best_case = outlook(AT_BEST, self.token_cost, ratio, most_rows)
        if best_case.gain <= MARGIN and len(self._costs) >= MEASURED:
            self._give_up(f"a drafted token costs {self.token_cost:.2f} of a step here")
            return None
        if best_case.gain <= MARGIN and self.first_cost > 0.5:
            self._give_up(f"it is {self.first_cost:.2f} of the model's size")
            return None
        if self._drafts < TRIALS:
            # One token, judged by what is drawn, and not worth a batch.
            return Outlook(1, best_case.gain, self.token_cost)
        if outlook(self.acceptance, self.token_cost, ratio, most_rows).pays:
            found = outlook(self.acceptance, self.token_cost, ratio, room)
            return found if found.pays else None
        self._rests += 1
        self._rest_left = FIRST_REST << min(self._rests, 8)
        # The next trial starts from what is known, with room for a change.
        self._met, self._tried, self._drafts = self._met * 0.25, self._tried * 0.25, TRIALS - 2
        if self._rests >= GIVE_UP:
            self._give_up(f"{self.acceptance:.0%} of its tokens were accepted, which does not pay")
        return None

    def lag_cost(self, lag: int) -> float:
        """Steps that reading so many tokens takes it."""
        return lag * self._lag_cost

    def drafted(self, tokens: int, steps: float, lag: int) -> None:
        """It made so many tokens for this cost, after reading `lag` tokens that it did not know."""
        if lag > LONG_LAG:
            self._lag_cost = max(0.0, steps - tokens * self.token_cost) / lag
        elif tokens and lag <= SHORT_LAG:
            # The last of the lag is computed as a drafted token is, in a batch with the others.
            self._costs.append(steps / tokens)

    def judged(self, accepted: int, refused: bool) -> None:
        """Of its last draft."""
        self._drafts += 1
        self._met = self._met * 0.95 + accepted
        self._tried = self._tried * 0.95 + accepted + refused

    def could_pay(self, ratio: Callable[[int], float], most_rows: int) -> bool:
        """Whether it would pay at its best; what it costs may be less by now than it was."""
        return outlook(AT_BEST, 0.9 * self.token_cost, ratio, most_rows).gain > MARGIN

    def again(self) -> ModelDrafting:
        """The same model, loaded again: on trial, and given up sooner than the first time."""
        cost = 0.9 * self.token_cost
        return ModelDrafting(cost, _rests=GIVE_UP - 1, _drafts=TRIALS // 2)

    def _give_up(self, why: str) -> None:
        self.useless = f"the draft model cannot pay: {why}"
