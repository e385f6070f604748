"""Speculation of one loaded model: which drafts are computed with the next step, and what is learned from it.

    plan = speculator.plan(running, width)   what the next batch of running streams should hold
    speculator.settle(plan, drawn, seconds)  what came of it

Pure state, asked by the scheduler alone. Whatever is drafted, the text stays that of plain decoding: a drafted token is
kept only where the draw, a function of logits, parameters, seed and position, gives the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fireside_engine.core.sequence import Sequence as Request
from fireside_engine.core.slot import Slot
from fireside_engine.core.speculation.calibration import Calibration, Source
from fireside_engine.core.speculation.choice import Choice, choose
from fireside_engine.core.speculation.costs import Costs, Key
from fireside_engine.core.speculation.drafting import SHORT_LAG, ModelDrafting
from fireside_engine.core.speculation.ledger import Ledger
from fireside_engine.core.speculation.lookup import Index, Store, Stores
from fireside_engine.core.speculation.matching import MAX_DRAFT
from fireside_engine.core.speculation.tenure import Tenure, Wish
from fireside_engine.core.speculation.tracker import Draft, Paper, Tracker
from fireside_engine.core.step import Chunk, Draw, Tokens


@dataclass(frozen=True, slots=True)
class Limits:
    """What speculation may do with this model."""

    most_rows: int = MAX_DRAFT + 1
    """Rows of a batch: in `deterministic` those of the exact window. 1 switches speculation off."""
    reason: str = ""
    """Why it is off for this model, in words."""
    draft_size: float = 0.0
    """Size of the draft model over that of the model; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The draft model is to draft before the next batch."""

    slot: Slot
    k: int


@dataclass(slots=True)
class Plan:
    """The next batch of running streams."""

    streams: int
    rows: int
    drafts: dict[int, Draft] = field(default_factory=dict)
    """By slot; nothing for plain decoding."""
    proposal: Proposal | None = None
    plain_rate: float = 1.0
    """Tokens of plain decoding in the time of a single step."""
    depth: int = 0
    suggested: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By slot, what a smaller model says of the first rows."""


class Speculator:
    def __init__(
        self,
        limits: Limits,
        probed: Mapping[int, float],
        *,
        known: Mapping[Key, Sequence[float]] | None = None,
    ) -> None:
        self.limits = limits
        self.calibration = Calibration()
        self.costs = Costs(probed, known)
        self.ledger = Ledger()
        self.stores = Stores()
        self.model = ModelDrafting(limits.draft_size) if limits.draft_size else None
        self._trackers: dict[int, Tracker] = {}
        self._indexes: dict[int, Index] = {}
        self.tenure = Tenure()
        self._known: tuple[str, int] = ("", 0)
        """The request that the draft model knows, and how many tokens of it."""
        self._read_before = np.zeros(0, np.int32)
        """What it knows of the request before, for one that goes on from there."""
        self._spent = 0.0
        """Steps that the pending draft of the draft model took."""
        self._read = 0.0
        """Of these, what it took to read what it did not know: that is for all drafts to come, not for this one."""

    # --- sequences

    def begin(self, slot: Slot, request: Request) -> None:
        """A prompt is computed; its answer begins."""
        if self.limits.most_rows < 2 or not request.speculate:
            return
        index = self._indexes.setdefault(slot.id, Index(slot.capacity + 1))
        index.reset()
        store, given = self.stores.of(request.scope), request.given
        self._trackers[slot.id] = Tracker(
            slot.tokens,
            index,
            store,
            self.calibration,
            request.tally,
            greedy=request.greedy,
            eog=request.eog,
            given=given,
            # Where the answer leaves what was given, it may come back to it.
            beside=None if given is None else Store.of(slot.tokens[: len(request.prompt)], given),
            start=len(request.prompt),
            tolerant=request.tolerance > 0.0,
        )

    def end(self, slot: Slot, request: Request) -> None:
        """The answer ended, whatever way: it may help the next one, unless nothing of it is to be kept."""
        tracker = self._trackers.pop(slot.id, None)
        if tracker is None:
            return
        self._spent = self._read = 0.0
        if self.model is not None:
            self.model.answered(request.n_generated)
            if self._known[0] == request.request_id and self._known[1]:
                self._read_before = slot.tokens[: self._known[1]].copy()
                self._known = ("", 0)
        if request.owner is None:
            return
        start, stop = len(request.prompt), len(request.prompt) + request.n_generated
        self.stores.of(request.scope).add(slot.tokens[:start], slot.tokens[start:stop])

    # --- steps

    def plan(self, running: Sequence[Slot], width: int) -> Plan:
        """running: the one that waited longest first. width: streams of a plain batch."""
        depth = self.costs.depth_of(max(slot.n for slot in running))
        streams = min(width, len(running))
        plan = Plan(streams, 1, depth=depth, plain_rate=streams / self.costs.ratio(depth, streams, 1))
        drafts = [self._draft(slot) for slot in running]
        plan.suggested = {slot.id: draft.suggested for slot, draft in zip(running, drafts, strict=True)}
        if not any(self._trackers.get(slot.id) for slot in running) or self.costs.step(depth) <= 0.0:
            return plan
        if not self.costs.is_fresh and not any(draft.certain for draft in drafts):
            # A single step is due, so that ratios are taken between times of the same moment.
            return plan

        def ratio(n_streams: int, rows: int) -> float:
            return self.costs.ratio(depth, n_streams, rows)

        hopes = [draft.hope(_room(slot)) for slot, draft in zip(running, drafts, strict=True)]
        most_rows = self.limits.most_rows

        def may(n_streams: int, steps: float) -> bool:
            return self._may(running[:n_streams], steps)

        # Whoever gives an answer to be verified wants it read in few steps; after one refusal it is over.
        is_given = all(draft.is_given for draft in drafts)
        choice = choose(hopes, width, most_rows, ratio, None if is_given else may)
        proposal = self._propose(running, drafts, choice, depth)
        if proposal is not None:
            plan.proposal = proposal
            return plan
        if choice.rows > 1:
            plan.streams, plan.rows = choice.streams, choice.rows
            for slot, draft in zip(running[: choice.streams], drafts, strict=False):
                draft.keep(choice.rows - 1)
                plan.drafts[slot.id] = draft
        elif len(running) == 1 and (tracker := self._trackers[running[0].id]).is_idle and not is_given:
            wished = choose(hopes, width, most_rows, ratio, lambda _streams, _steps: True)
            if wished.rows > 1:
                tracker.paper = Paper(drafts[0].tokens[: wished.rows - 1], ratio(1, wished.rows))
        return plan

    def _may(self, slots: Sequence[Slot], steps: float) -> bool:
        """Whether these streams may lose so many steps together."""
        purses = [tracker.purse for slot in slots if (tracker := self._trackers.get(slot.id)) is not None]
        return self.ledger.allows(steps) and all(purse.allows(steps / len(slots)) for purse in purses)

    def _draft(self, slot: Slot) -> Draft:
        tracker, request = self._trackers.get(slot.id), slot.sequence
        if tracker is None or request is None:
            return Draft()
        limit = min(self.limits.most_rows, _room(slot)) - 1
        return tracker.propose(slot.n + 1, limit, request.forced, request.likely)

    def _propose(self, running: Sequence[Slot], drafts: Sequence[Draft], choice: Choice, depth: int) -> Proposal | None:
        """Ask the draft model where it promises more than all else. One stream only: batches of several pay better."""
        slot, request = running[0], running[0].sequence
        tracker = self._trackers.get(slot.id)
        if self.model is None or len(running) > 1 or tracker is None or request is None:
            return None
        if tracker.from_model is not None or request.constrained or drafts[0].certain or drafts[0].is_given:
            return None
        most_rows = self.limits.most_rows
        found = self.model.look(lambda rows: self.costs.ratio(depth, 1, rows), most_rows, min(most_rows, _room(slot)))
        if found is None or found.gain <= choice.gain:
            return None
        late = self.model.lag_cost(self._lag(slot, request) - 1)
        if not self.model.worth_reading(late, found.gain, request.remaining) or not self.ledger.allows(late):
            return None
        return Proposal(slot, found.k) if self._may(running, found.missing) else None

    def _lag(self, slot: Slot, request: Request) -> int:
        """Tokens that the draft model has to read before it can go on, the latest included."""
        known, n = self._known
        if known != request.request_id:
            before = self._read_before[: slot.n]
            different = np.nonzero(before != slot.tokens[: len(before)])[0]
            n = int(different[0]) if len(different) else len(before)
            self._known = (request.request_id, n)
        return slot.n + 1 - n

    def proposed(self, plan: Plan, drafted: Sequence[tuple[int, float]], seconds: float) -> None:
        """The draft model has drafted."""
        if plan.proposal is None or self.model is None:
            raise AssertionError("nobody asked the draft model")
        step = self.costs.step(plan.depth)
        steps = seconds / step if step > 0.0 else 0.0
        self._spent = steps
        slot, request = plan.proposal.slot, plan.proposal.slot.sequence
        if request is not None:
            lag = self._lag(slot, request)
            self._read = min(steps, self.model.lag_cost(lag - 1)) if lag > SHORT_LAG else 0.0
            self.model.drafted(len(drafted), steps, lag)
            self._known = (request.request_id, slot.n + 1)
        tracker = self._trackers.get(plan.proposal.slot.id)
        if tracker is not None:
            tracker.propose_by_model(drafted)

    # --- the draft model's place in memory

    def restored(self, tokens: Tokens) -> None:
        """The draft model got KV of these tokens back from disk."""
        self._known, self._read_before = ("", 0), tokens.copy()

    def wish(self, *, idle: bool) -> Wish | None:
        """Whether the draft model is to leave memory, or to come back; followed by `left`, `came` or
        `tenure.stayed_away`. idle: nothing is to be computed."""
        if self.model is None:
            return None

        def ratio(rows: int) -> float:
            return self.costs.ratio(0, 1, rows)

        could_pay = idle and self.tenure.is_over and self.model.could_pay(ratio, self.limits.most_rows)
        return self.tenure.wish(useless=bool(self.model.useless), could_pay=could_pay, idle=idle)

    def left(self) -> None:
        self.tenure.left()
        self._known, self._read_before = ("", 0), self._read_before[:0]

    def came(self) -> None:
        self.tenure.came()
        if self.model is not None:
            self.model = self.model.again()

    def settle(self, plan: Plan, slots: Sequence[Slot], drawn: Mapping[int, Sequence[int]], seconds: float) -> None:
        """What was drawn for each stream of the plan's batch, and how long it took, draws included."""
        step = self.costs.step(plan.depth)
        self.costs.observe(plan.depth, plan.streams, plan.rows, seconds)
        n_drawn = sum(len(tokens) for tokens in drawn.values())
        self.tenure.worked(n_drawn)
        plain = n_drawn / plan.plain_rate
        won = 0.0
        if plan.rows > 1 and step > 0.0:
            # The load may have changed since the last single step. What is known well is believed; of what is not, a
            # hiccup is not the drafts' fault, and a load that went is not their merit.
            cost = self.costs.ratio(plan.depth, plan.streams, plan.rows)
            if not self.costs.is_known(plan.depth, plan.streams, plan.rows):
                cost = max(cost, min(seconds / step, 2.0 * cost))
            won = self.ledger.settle(plain, cost + self._spent, step)
        else:
            if self._spent:
                won = self.ledger.settle(0.0, self._spent, step)
            self.ledger.worked(plain)
        for slot in slots:
            tracker = self._trackers.get(slot.id)
            tokens = drawn[slot.id]
            if tracker is None or not tokens:
                continue
            draft = plan.drafts.get(slot.id)
            share = len(tokens) / n_drawn
            if won and not (draft is not None and draft.is_given):
                tracker.purse.settle((won / step + self._read) * share)
            tracker.purse.worked(plain * share)
            self.ledger.credit(tracker.on_paper(tokens))
            self._judge(tracker, slot, tokens)
            tracker.learn(slot.n + 1, tokens, draft)
            tracker.tally.won_seconds += won * share
        self._spent = self._read = 0.0

    def _judge(self, tracker: Tracker, slot: Slot, drawn: Sequence[int]) -> None:
        if self.model is None:
            return
        asked = tracker.from_model
        if asked is None:
            self.model.plain(len(drawn))
            return
        agreed = 0
        while agreed < min(len(asked.tokens), len(drawn)) and asked.tokens[agreed] == drawn[agreed]:
            agreed += 1
        self.model.judged(agreed, agreed < min(len(asked.tokens), len(drawn)))
        # Of its own drafts it knows all but the last.
        self._known = (self._known[0], slot.n + 1 + min(agreed, max(0, len(asked.tokens) - 1)))


def rows_of(slot: Slot, request: Request, plan: Plan) -> Chunk:
    """The rows of one stream: its latest token, its drafts, padding. Drafts are written behind the slot's tokens."""
    draft = plan.drafts.get(slot.id)
    drafted = len(draft.tokens) if draft is not None else 0
    first, last = slot.n + 1, slot.n + plan.rows
    slot.tokens[first:last] = slot.tokens[slot.n]
    certain = 0
    if draft is not None and drafted:
        slot.tokens[first : first + drafted] = draft.tokens
        certain = 0 if request.logprobs else draft.certain
    suggested = plan.suggested.get(slot.id, ())[: drafted + 1] if request.tolerance > 0.0 else ()
    draw = Draw(
        request.drawer,
        slot.tokens[: first + drafted],
        request.remaining,
        drafted,
        certain,
        suggested,
        request.tolerance,
    )
    return Chunk(slot.id, slot.n, slot.tokens[slot.n : last], draw)


def _room(slot: Slot) -> int:
    """Rows that context and request have room for."""
    if slot.sequence is None:
        return 1
    return max(1, min(slot.sequence.remaining, slot.capacity - slot.n))


__all__ = ["Limits", "Plan", "Proposal", "Source", "Speculator"]
