"""The books of time won against plain decoding: a ledger for the model, and a purse for each answer. They decide what
may be risked, so that they bound what can be lost.

Counted in single steps. The ledger's balance is capped from above: a workload that won much does not pay for long
series of losses. Besides, ALLOWANCE of all work is granted for trying. The purse holds what one answer may lose, so
that no answer pays for what others won: a little from its first token on, and what it won itself.

A text that had bad luck at first may be worth drafting for all the same. So while an answer is decoded plainly, its
drafts are judged against what is drawn (on paper); what they would have won refills the purse a little, the less the
more often real batches lost.
"""

from __future__ import annotations

from dataclasses import dataclass

ALLOWANCE = 0.01
"""Share of all work that may go into trying."""
START = 6.0
"""Steps that may be risked before anything was won."""
CAP = 12.0
"""Steps that may be risked at most."""
PURSE = 1.0
"""Steps that an answer may risk at first."""
PURSE_CAP = 3.0
"""Steps that an answer may risk at most, however much it won."""
TRUST = 0.5
"""Share of what was won on paper that goes into the purse; halved by every real batch that lost."""
LEAST_TRUST = 1 / 64


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

    def credit(self, steps: float) -> None:
        """What was won on paper, as far as it is trusted: enough for another try, never more."""
        self.balance = max(self.balance, min(PURSE, self.balance + steps))

    def allows(self, shortfall: float) -> bool:
        """Whether something may be tried that is expected to lose so many steps in the cases in which it loses."""
        return shortfall <= 0.0 or self.balance >= shortfall


@dataclass(slots=True)
class Purse:
    """What one answer may risk."""

    balance: float = PURSE
    trust: float = TRUST

    def worked(self, steps: float) -> None:
        self.balance = min(PURSE_CAP, self.balance + ALLOWANCE * steps)

    def settle(self, won: float) -> None:
        """A speculative batch won or lost so many steps of this answer's."""
        self.balance = min(PURSE_CAP, self.balance + won)
        self.trust = max(LEAST_TRUST, self.trust / 2) if won < 0.0 else min(TRUST, self.trust * 2)

    def on_paper(self, won: float) -> float:
        """A batch that was not computed would have won so much; returns the part of it that is trusted."""
        if won <= 0.0:
            self.trust = max(LEAST_TRUST, self.trust / 2)
            return 0.0
        trusted = won * self.trust
        self.balance = max(self.balance, min(PURSE, self.balance + trusted))
        return trusted

    def allows(self, shortfall: float) -> bool:
        """As a ledger does."""
        return shortfall <= 0.0 or self.balance >= shortfall
