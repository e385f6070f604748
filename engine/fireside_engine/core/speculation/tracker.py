"""Drafts for one running sequence: what must follow, what probably follows, and how well that went. Pure state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from fireside_engine.core.speculation.calibration import (
    GRAMMAR_FORCED,
    GRAMMAR_INNER,
    GRAMMAR_LAST,
    Calibration,
    Luck,
    Source,
    model_cell,
)
from fireside_engine.core.speculation.choice import Hope
from fireside_engine.core.speculation.ledger import Purse
from fireside_engine.core.speculation.lookup import Index, Store, Trace
from fireside_engine.core.speculation.matching import I32, MAX_DRAFT, SURE
from fireside_engine.core.speculation.tally import Tally

ENOUGH = 6
"""Drafts by grammar of at least so many tokens are not lengthened by a lookup."""
FIRST_WINDOW = 7
"""Tokens that a lookup drafts at first; later twice as many as were drawn at once the last time."""
LOOKUPS = (Source.CONVERSATION, Source.ANSWERS)


@dataclass(slots=True)
class Draft:
    """Tokens that may follow."""

    tokens: list[int] = field(default_factory=list)
    p: list[float] = field(default_factory=list)
    """Probability of each, given those before it."""
    origin: list[tuple[Source, int, bool]] = field(default_factory=list)
    """Source and cell of each, and whether its outcome is still to be learned from: lookups at the text's own end are
    judged at every token anyway."""
    certain: int = 0
    after: list[int] = field(default_factory=list)
    """What the same source says behind them, where computing it is of no use or has no room."""

    @property
    def is_given(self) -> bool:
        """All of it comes from an answer that was given."""
        return bool(self.origin) and self.origin[0][0] is Source.GIVEN

    @property
    def suggested(self) -> tuple[int, ...]:
        """What a smaller model says, if it is from one."""
        small = not self.origin or self.origin[0][0] in (Source.GIVEN, Source.CASCADE)
        return (*self.tokens, *self.after) if small else ()

    def add(self, token: int, p: float, source: Source, cell: int, *, judge: bool = True) -> None:
        self.tokens.append(token)
        self.p.append(p)
        self.origin.append((source, cell, judge))

    def keep(self, length: int) -> None:
        """Draft no more than so many."""
        self.after[:0] = self.tokens[length:]
        del self.tokens[length:], self.p[length:], self.origin[length:]
        self.certain = min(self.certain, length)

    def hope(self, room: int) -> Hope:
        reach, reached = [], 1.0
        for p in self.p:
            reached *= p
            reach.append(reached)
        return Hope(reach, self.certain, room)


@dataclass(slots=True)
class Paper:
    """A batch that was not computed, judged by what is drawn."""

    tokens: list[int]
    cost: float
    """In single steps."""
    drawn: int = 1
    """Tokens that it would have made so far."""


class Tracker:
    """`tokens` is the slot's array: prompt and answer as far as they are known, drafts behind them."""

    def __init__(
        self,
        tokens: I32,
        index: Index,
        store: Store,
        calibration: Calibration,
        tally: Tally,
        *,
        greedy: bool,
        eog: Collection[int],
        lookup: bool = True,
        given: I32 | None = None,
        beside: Store | None = None,
        start: int = 0,
        tolerant: bool = False,
    ) -> None:
        """given: an answer that begins at position `start`; beside: the same for lookups. tolerant: what a smaller
        model says may decide."""
        self.tally = tally
        self.from_model: Draft | None = None
        """What the draft model proposed for the present position."""
        self.purse = Purse()
        self.paper: Paper | None = None
        self._window = FIRST_WINDOW
        self._tokens = tokens
        self._index = index
        self._calibration = calibration
        self._greedy = greedy
        self._eog = eog
        self._luck = Luck()
        self._own = Trace(index, loops=True)
        self._beyond = Trace(index, loops=True)
        halves = (*(beside.halves if beside is not None else ()), *store.halves)
        self._halves = [(half, Trace(half.index, loops=False)) for half in halves if half.n] if lookup else []
        self._seen: list[tuple[Source, Trace, int]] = []
        """The latest lookups: where, and how many tokens they drafted."""
        self._suggested: tuple[int, int] | None = None
        """The next token by the constraint, where nothing forces it, and its cell."""
        self._lookup = lookup
        self._given = given if given is not None else np.empty(0, np.int32)
        self._start, self._agreed = start, 0
        self._by_model = Source.CASCADE if tolerant else Source.MODEL

    def propose(self, n: int, limit: int, forced: Sequence[int], likely: Sequence[int]) -> Draft:
        """Drafts after tokens[:n], at most `limit`. forced: what must follow; likely: what the grammar suggests.

        Looks up in any case, so that the next `learn` has something to learn from.
        """
        self._suggested = None
        limit = max(0, min(limit, MAX_DRAFT))
        best = self._look(n)
        if (draft := self._from_given(n, limit)) is not None:
            return draft
        if self.from_model is not None and self.from_model.tokens:
            return self.from_model
        draft = Draft()
        self._by_grammar(draft, limit, forced, likely)
        self._suggested = (draft.tokens[0], draft.origin[0][1]) if draft.tokens and not draft.certain else None
        if not draft.tokens:
            if best is not None:
                self._take(draft, *best, min(limit, self._window), judge=False)
        elif len(draft.tokens) < ENOUGH and self._lookup:
            self._lengthen(draft, n, limit)
        return draft

    def _from_given(self, n: int, limit: int) -> Draft | None:
        """What the given answer says next, while it was right so far."""
        known, given = n - self._start, self._given
        while self._agreed < min(known, len(given)) and self._tokens[self._start + self._agreed] == given[self._agreed]:
            self._agreed += 1
        if self._agreed < known or known >= len(given):
            return None
        draft = Draft()
        p = min(SURE, float(self._calibration.table(Source.GIVEN, self._greedy)[0]))
        for token in given[known : known + limit].tolist():
            draft.add(token, p, Source.GIVEN, 0)
        draft.after = given[known + limit : known + limit + 1].tolist()
        return draft

    @property
    def is_idle(self) -> bool:
        """Nothing is on trial, on paper or by the draft model."""
        return self.paper is None and self.from_model is None

    def _look(self, n: int) -> tuple[Source, Trace, int] | None:
        """Look up in all histories; returns the draft of which most is expected."""
        self._seen.clear()
        best, best_score = None, 0.0
        if not self._lookup:
            return None
        tokens, discount = self._tokens, self._luck.discount
        self._index.push(tokens, n)
        table = self._calibration.table(Source.CONVERSATION, self._greedy)
        length, score = self._own.draft(tokens, n, tokens, n, table, discount, MAX_DRAFT)
        if length:
            best, best_score = (Source.CONVERSATION, self._own, length), score
            self._seen.append(best)
        table = self._calibration.table(Source.ANSWERS, self._greedy)
        for half, trace in self._halves:
            length, score = trace.draft(tokens, n, half.tokens, half.n, table, discount, MAX_DRAFT)
            if length:
                self._seen.append((Source.ANSWERS, trace, length))
                if score > best_score:
                    best, best_score = self._seen[-1], score
        return best

    def _by_grammar(self, draft: Draft, limit: int, forced: Sequence[int], likely: Sequence[int]) -> None:
        for token in forced[:limit]:
            draft.add(token, 1.0, Source.GRAMMAR, GRAMMAR_FORCED)
        draft.certain = len(draft.tokens)
        if tuple(likely[: len(forced)]) != tuple(forced):
            return
        table = self._calibration.table(Source.GRAMMAR, self._greedy)
        for i in range(len(forced), min(limit, len(likely))):
            cell = GRAMMAR_LAST if i == len(likely) - 1 else GRAMMAR_INNER
            draft.add(likely[i], min(SURE, float(table[cell])), Source.GRAMMAR, cell)

    def _take(self, draft: Draft, source: Source, trace: Trace, length: int, limit: int, *, judge: bool) -> None:
        found = trace.found
        for i in range(min(length, limit)):
            token = int(found.tokens[i])
            if token in self._eog:
                # Nothing follows it, so drafting it saves no step.
                return
            draft.add(token, float(found.p[i]), source, int(found.cells[i]), judge=judge)

    def _lengthen(self, draft: Draft, n: int, limit: int) -> None:
        """Look up what follows the draft itself, as if it had been accepted."""
        end = n + len(draft.tokens)
        if end >= self._tokens.size or len(draft.tokens) >= limit:
            return
        self._tokens[n:end] = draft.tokens
        table = self._calibration.table(Source.CONVERSATION, self._greedy)
        length, _ = self._beyond.draft(
            self._tokens, end, self._tokens, end, table, self._luck.discount, limit - len(draft.tokens)
        )
        self._take(draft, Source.CONVERSATION, self._beyond, length, limit - len(draft.tokens), judge=True)

    def propose_by_model(self, drafted: Sequence[tuple[int, float]]) -> None:
        """What the draft model says, with its own probabilities."""
        draft = Draft()
        table = self._calibration.table(self._by_model, self._greedy)
        for token, confidence in drafted:
            if token in self._eog:
                draft.after = [token]
                break
            cell = model_cell(confidence)
            draft.add(token, min(SURE, float(table[cell])), self._by_model, cell)
        self.from_model = draft

    def learn(self, n: int, drawn: Sequence[int], draft: Draft | None) -> None:
        """Tokens n, n + 1, ... were drawn; `draft` is what was computed with them, None in plain decoding."""
        for source, trace, length in self._seen:
            found = trace.found
            for i in range(min(length, len(drawn))):
                hit = int(found.tokens[i]) == drawn[i]
                self._calibration.learn(source, self._greedy, int(found.cells[i]), hit)
                if not hit:
                    break
        if draft is not None:
            self._learn_draft(drawn, draft)
            if draft.origin and draft.origin[0][0] in LOOKUPS:
                self._window = max(FIRST_WINDOW, 2 * len(drawn))
        elif self._suggested is not None:
            token, cell = self._suggested
            self._calibration.learn(Source.GRAMMAR, self._greedy, cell, token == drawn[0])
        elif self._seen:
            # What the best lookup said of the next token, judged without a risk.
            found = self._seen[0][1].found
            self._luck.learn(float(found.p[0]), int(found.tokens[0]) == drawn[0])
        self.from_model = None
        for i, token in enumerate(drawn):
            self._own.step(self._tokens, n + i, token)
            for half, trace in self._halves:
                trace.step(half.tokens, half.n, token)

    def on_paper(self, drawn: Sequence[int]) -> float:
        """Judge the batch on paper by what was drawn; returns the steps that it won as far as that is trusted, 0 while
        it is not over."""
        paper = self.paper
        if paper is None:
            return 0.0
        for token in drawn:
            if paper.drawn <= len(paper.tokens) and token == paper.tokens[paper.drawn - 1]:
                paper.drawn += 1
                continue
            self.paper = None
            self._window = max(FIRST_WINDOW, 2 * paper.drawn)
            return self.purse.on_paper(paper.drawn - paper.cost)
        return 0.0

    def _learn_draft(self, drawn: Sequence[int], draft: Draft) -> None:
        """A drafted token was judged if all before it were drawn."""
        tally = self.tally
        agreed = True
        for i, (token, p, (source, cell, judge)) in enumerate(zip(draft.tokens, draft.p, draft.origin, strict=True)):
            tally.drafted[source] = tally.drafted.get(source, 0) + 1
            agreed = agreed and i < len(drawn)
            if not agreed:
                continue
            hit = token == drawn[i]
            tally.accepted[source] = tally.accepted.get(source, 0) + hit
            if i >= draft.certain:
                if source in LOOKUPS:
                    self._luck.learn(p, hit)
                if judge:
                    self._calibration.learn(source, self._greedy, cell, hit)
            agreed = hit
