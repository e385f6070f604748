"""How unsure a model is of its own answer, from the logits of the tokens it chose. Pure.

A token's uncertainty is 1 minus the margin between the two most likely tokens: 0 where nothing else came into question,
1 where two were equally good. Doubt is the largest mean of it over the beginnings of the answer: after PEEK tokens,
after
every further STRIDE, and at the end. So it only grows while an answer is written, an answer is in doubt as soon as one
of its beginnings is, and the doubt of an answer does not depend on where somebody stopped looking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fireside_engine.core.events import TokenLogprob

PEEK = 8
"""Tokens after which doubt is asked for the first time."""
STRIDE = 16
ALTERNATIVES = 2
"""Alternatives that have to be reported with each token."""


@dataclass(slots=True)
class Doubt:
    """Of one answer that is being written."""

    n: int = 0
    value: float = 0.0
    """0 to 1."""
    _sum: float = 0.0

    def push(self, entry: TokenLogprob) -> bool:
        """Take a token in. True where it was one after which `value` is told anew."""
        self.n += 1
        self._sum += uncertainty(entry)
        if self.n >= PEEK and (self.n - PEEK) % STRIDE == 0:
            self._judge()
            return True
        return False

    def end(self) -> float:
        """No token follows."""
        self._judge()
        return self.value

    def _judge(self) -> None:
        if self.n:
            self.value = max(self.value, self._sum / self.n)


def uncertainty(entry: TokenLogprob) -> float:
    """1 minus the margin of the two most likely tokens; of the token alone where no alternatives are known."""
    best = sorted((p for *_, p in entry.top), reverse=True)[:2]
    if not best:
        return 1.0 - _p(entry.logprob)
    margin = _p(best[0]) - (_p(best[1]) if len(best) > 1 else 0.0)
    return min(1.0, max(0.0, 1.0 - margin))


def doubt_of(entries: Iterable[TokenLogprob]) -> float:
    """Of a whole answer."""
    doubt = Doubt()
    for entry in entries:
        doubt.push(entry)
    return doubt.end()


def _p(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
