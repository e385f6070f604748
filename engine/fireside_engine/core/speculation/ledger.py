"""The ledger of time won against plain decoding. Its balance decides what may be risked, so that it bounds what can be
lost.

Counted in single steps. Whatever is won or lost goes into the balance, which is capped from above: a workload that won
much does not pay for the next one's losses. Besides, ALLOWANCE of all work is granted for trying. As nothing is risked
beyond the balance, the time lost over any stretch of work is at most ALLOWANCE of it, plus the cap, plus the loss of a
single batch.
"""

from __future__ import annotations

from dataclasses import dataclass

ALLOWANCE = 0.01
"""Share of all work that may go into trying."""
START = 3.0
"""Steps that may be risked before anything was won."""
CAP = 6.0
"""Steps that may be risked at most."""


@dataclass(slots=True)
class Ledger:
    balance: float = START
    won_steps: float = 0.0
    """Won and lost, all in all."""
    won_seconds: float = 0.0
    batches: int = 0
    """Speculative ones."""

    def worked(self, steps: float) -> None:
        """Plain work was done, or work that plain decoding would have needed as well."""
        self.balance = min(CAP, self.balance + ALLOWANCE * steps)

    def settle(self, plain: float, cost: float, step_seconds: float) -> float:
        """A speculative batch: what plain decoding would have needed for its tokens, and what it cost, in steps.

        Returns the seconds won."""
        won = plain - cost
        self.batches += 1
        self.won_steps += won
        self.won_seconds += won * step_seconds
        self.balance = min(CAP, self.balance + won)
        self.worked(plain)
        return won * step_seconds

    def allows(self, loss: float, chance: float) -> bool:
        """Whether something may be tried that loses at most `loss` steps, and does lose with this chance."""
        return loss <= 0.0 or self.balance >= loss * chance


class _Free(Ledger):
    """Allows everything."""

    def allows(self, loss: float, chance: float) -> bool:  # noqa: ARG002
        return True


FREE = _Free()
