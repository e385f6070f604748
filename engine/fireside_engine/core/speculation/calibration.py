"""What a draft is worth: the probability that a drafted token is the one that is drawn, learned from what was drawn.

Lookups cost next to nothing, so they are made, and judged, at every token, also while nothing is speculated: a
workload that begins to repeat itself is noticed without a single batch having been risked.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from fireside_engine.core.speculation.matching import CELLS, F64


class Source(StrEnum):
    """Where drafted tokens come from."""

    CONVERSATION = "conversation"
    """Repetitions of the prompt and of the answer itself."""
    ANSWERS = "answers"
    """Earlier answers to the same tenant."""
    GRAMMAR = "grammar"
    """What the constraint forces, and how its skeleton is usually spaced."""
    MODEL = "model"
    """The draft model."""
    CASCADE = "cascade"
    """The draft model, where the request is tolerant."""
    GIVEN = "given"
    """An answer that a smaller model gave to the same prompt."""


_LENGTHS = (0.25, 0.4, 0.55, 0.7, 0.85, 0.93)
"""First guesses by length of the match, before anything was seen."""
_VOTES = (0.5, 0.75, 0.9, 1.0)
_FIRST: dict[Source, F64] = {
    Source.CONVERSATION: np.outer(_LENGTHS, _VOTES).reshape(CELLS),
    Source.ANSWERS: np.outer(_LENGTHS, _VOTES).reshape(CELLS),
    Source.GRAMMAR: np.array([0.8, 0.9, 1.0]),
    Source.MODEL: np.array([0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97, 0.99]),
    Source.CASCADE: np.array([0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.98, 0.99]),
    Source.GIVEN: np.array([0.9]),
}
GRAMMAR_LAST, GRAMMAR_INNER, GRAMMAR_FORCED = range(3)
"""Cells of grammar: the last token of a run may merge with what follows; forced tokens are certain."""
_MODEL_BINS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Edges of the draft model's own probabilities."""
_WEIGHT = 6.0
"""How many observations a first guess counts for."""
_MEMORY = 400.0
"""Observations of a cell are forgotten beyond about so many."""
_LEAST_MEMORY = 12.0
"""The same of one sequence against all the others."""


class Calibration:
    """Acceptance by source, kind of request (greedy or not) and cell, for one model."""

    def __init__(self) -> None:
        keys = [(source, greedy) for source in Source for greedy in (True, False)]
        self._tables = {key: _FIRST[key[0]].copy() for key in keys}
        self._hits = {key: _FIRST[key[0]] * _WEIGHT for key in keys}
        self._tries = {key: np.full(_FIRST[key[0]].size, _WEIGHT) for key in keys}

    def table(self, source: Source, greedy: bool) -> F64:
        """Probability by cell; changes with what is learned."""
        return self._tables[source, greedy]

    def learn(self, source: Source, greedy: bool, cell: int, hit: bool) -> None:
        hits, tries = self._hits[source, greedy], self._tries[source, greedy]
        if tries[cell] >= _MEMORY:
            hits[cell] *= 1.0 - 1.0 / _MEMORY
            tries[cell] *= 1.0 - 1.0 / _MEMORY
        hits[cell] += hit
        tries[cell] += 1.0
        self._tables[source, greedy][cell] = hits[cell] / tries[cell]

    def acceptance(self, source: Source, greedy: bool) -> tuple[float, float]:
        """(hits, tries) so far, first guesses left out."""
        hits, tries = self._hits[source, greedy], self._tries[source, greedy]
        first = _FIRST[source]
        return float((hits - first * _WEIGHT).sum()), float(tries.sum() - _WEIGHT * first.size)


def model_cell(probability: float) -> int:
    """The cell of a token by the draft model's own probability of it."""
    return int(np.searchsorted(_MODEL_BINS, probability, side="right"))


class Luck:
    """How one sequence does against what was expected of it: some texts are unlike those the table was learned on."""

    __slots__ = ("_expected", "_met")

    def __init__(self) -> None:
        self._met = self._expected = 4.0

    @property
    def discount(self) -> float:
        """Factor for probabilities."""
        return min(1.0, max(0.1, self._met / self._expected))

    def learn(self, expected: float, hit: bool) -> None:
        if self._expected > _LEAST_MEMORY:
            self._met *= 1.0 - 1.0 / _LEAST_MEMORY
            self._expected *= 1.0 - 1.0 / _LEAST_MEMORY
        self._expected += expected
        self._met += hit
