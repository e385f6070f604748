"""Who computes what next. Pure state: no clock, no thread, no llama.cpp; times come in with results.

    while step := scheduler.schedule(): for event in scheduler.commit(step, runner.execute(step)): ...

Rules: slots go to clients in turn, within a client first come first served (core.fairness). A step is either one piece
of one prompt or one token for each of several running sequences, never both. While sequences run, prompts get short
pieces, and a fixed share of the time stays with the running ones, so that neither side ever waits long. Of running
sequences the one that waited longest goes first. KV that is to be saved is copied out before anything can overwrite it;
KV on disk is read while others compute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from fireside_engine.core import settling
from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.divergence import Divergence
from fireside_engine.core.events import Event, Failed, Finished, FinishReason, Progress, Started
from fireside_engine.core.explain import cache_reason
from fireside_engine.core.fairness import FairQueue
from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer, Seat, seat, worth_waiting
from fireside_engine.core.restoring import Coming, Restored, Restoring
from fireside_engine.core.rules import Rules, Trimming
from fireside_engine.core.saving import due
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.slot import Slot
from fireside_engine.core.speculation.drafting import LEAST
from fireside_engine.core.speculation.report import report
from fireside_engine.core.speculation.speculator import Limits, Plan, Speculator, rows_of
from fireside_engine.core.speculation.tenure import Wish
from fireside_engine.core.step import Chunk, Copy, Cut, Draw, Drawn, Phase, Propose, Restore, Result, Step, Tokens
from fireside_engine.core.window import TILE, next_cut

DECODE_SHARE = 0.4
"""Share of the time that running sequences keep while prompts are read."""

PIECE_SECONDS = 0.5
"""A piece of a prompt takes about this long while sequences run: the longest pause a reader sees."""

ALONE_SECONDS = 1.0
"""The same when nothing runs: how long a cancellation may wait, and how often progress is told."""


class Scheduler:
    """Slots, the queue before them, and the order of steps."""

    def __init__(self, rules: Rules, speculator: Speculator | None = None) -> None:
        self.rules = rules
        self.speculator = speculator or Speculator(Limits(most_rows=1), {})
        self._plan: Plan | None = None
        """What the running step computes for running sequences."""
        self._slots = [Slot(i, rules.n_ctx) for i in range(rules.n_slots)]
        self._waiting = FairQueue()
        self._running: deque[Slot] = deque()
        """Slots that decode, the one that waited longest first."""
        self._prefilling: deque[Slot] = deque()
        self._restoring = Restoring()
        self._cuts: list[Cut] = []
        self._copies: list[Copy] = []
        self._trim: dict[int, int] = {}
        self._events: list[Event] = []
        self._ended: list[Sequence] = []
        self._uses = 0
        self._now = 0.0
        self._decode_credit = 0.0
        """Seconds that running sequences are owed before the next piece of a prompt."""
        self._prefill_rate = 0.0
        """Tokens per second of the latest pieces; 0 until one was measured."""

    # --- what comes in

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence whose prompt is shorter than `n_ctx`."""
        if len(sequence.prompt) >= self.rules.n_ctx:
            raise ValueError(f"a prompt of {len(sequence.prompt)} tokens in a context of {self.rules.n_ctx}")
        self._waiting.add(sequence, self._slots)

    def cancel_all(self) -> None:
        """End every request."""
        for sequence in self._present():
            self.cancel(sequence.request_id)

    def cancel(self, request_id: str) -> bool:
        """End a request wherever it is; its Finished event comes with the next `drain`. False if it is not here."""
        for sequence in self._waiting:
            if sequence.request_id == request_id:
                self._waiting.remove(sequence)
                self._finish(sequence, FinishReason.CANCELLED)
                return True
        for slot in self._slots:
            if slot.sequence is not None and slot.sequence.request_id == request_id:
                self._release(slot, FinishReason.CANCELLED)
                return True
        return False

    def hold(self, request_id: str, *, held: bool) -> None:
        """Nothing more is drawn for a request whose client does not keep up, until it is let go again. It keeps its
        slot."""
        for present in self._present():
            if present.request_id == request_id:
                present.held = held
        for slot in self._slots:
            sequence = slot.sequence
            if sequence is None or sequence.request_id != request_id or sequence.prefilled is None:
                continue
            if held and slot in self._running:
                self._running.remove(slot)
            elif not held and slot not in self._running:
                self._running.append(slot)

    def fetches(self) -> list[Fetch]:
        """What is to be read from disk, each once."""
        return self._restoring.take_wanted()

    def fetched(self, request_id: str, payload: Any | None, n: int = 0) -> None:
        """What the disk had for a `Fetch`: KV of `n` tokens, fewer than asked for where a block was bad.

        None when it could not be had, which costs time and nothing else.
        """
        missed = self._restoring.arrived(request_id, payload, n, self.rules.use)
        if missed is not None:
            self._begin(missed.slot, missed.divergence)

    def forget(self, owner: Owner | None = None, *, drop: bool = True) -> None:
        """What was saved is gone from disk: of one conversation, or (None) anything.

        `drop`: it goes from idle slots too, and what runs now is not saved when it ends.
        """
        if drop:
            self.speculator.stores.forget()
        for slot in self._slots:
            if owner is None or slot.owner == owner:
                slot.saved = slot.state = 0
                if drop and slot.sequence is None:
                    self._empty(slot)
                elif drop and slot.sequence is not None:
                    slot.owner = slot.sequence.owner = None
        self._cuts = [cut for cut in self._cuts if owner is not None and cut.owner != owner]

    def restored(self) -> list[Restored]:
        """What was brought back, each once."""
        return self._restoring.take_restored()

    def ended(self) -> list[Sequence]:
        """Sequences that ended in a slot, each once."""
        ended, self._ended = self._ended, []
        return ended

    def drain(self) -> list[Event]:
        """Events that arose outside of `commit`."""
        events, self._events = self._events, []
        return events

    @property
    def n_active(self) -> int:
        return sum(slot.sequence is not None for slot in self._slots)

    @property
    def is_idle(self) -> bool:
        """Nothing is to be computed, whatever the disk may still say."""
        ready = self._running or self._prefilling or self._restoring.is_ready or self._cuts
        admissible = self._waiting.next(self._slots, self._now)
        return not ready and admissible is None and not any(map(settling.unsettled, self._slots))

    def draft_wish(self) -> Wish | None:
        """Whether the draft model is to leave memory or to come back; each is told once."""
        return self.speculator.wish(idle=self.is_idle and not self._waiting)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def _present(self) -> list[Sequence]:
        return [*self._waiting, *(slot.sequence for slot in self._slots if slot.sequence is not None)]

    def slots(self) -> Iterator[Slot]:
        """For display and tests; not to be changed."""
        return iter(self._slots)

    def held(self, scope: bytes, tokens: Tokens) -> int:
        """How many of the first tokens some slot has in KV. May be asked by other threads; then it is a guess."""
        return max((slot.common(tokens) for slot in self._slots if slot.scope == scope), default=0)

    # --- the loop

    def schedule(self, now: float) -> Step | None:
        """The next step, or None when there is nothing to do."""
        self._now = now
        if self._cuts:
            cuts, self._cuts = tuple(self._cuts), []
            return self._step(Phase.SAVE, cuts=cuts)
        self._admit(now)
        if self._cuts:
            return self.schedule(now)
        if self._restoring.is_ready:
            return self._step(Phase.RESTORE, restore=self._restoring.next())
        if self._prefilling and (not self._running or self._decode_credit <= 0.0):
            return self._prefill_step(self._prefilling[0])
        if self._running:
            return self._decode_step()
        return self._settle_step()

    def commit(self, step: Step, result: Result) -> list[Event]:
        """Digest what was computed; returns the events it caused, in order."""
        if result.failed is not None:
            self._fail(step, result.failed)
            return self.drain()
        if step.phase is Phase.SAVE:
            self._saved(step, result.kept)
            return self.drain()
        if step.restore is not None:
            if result.restored and result.draft_n:
                slot = self._slots[step.restore.slot]
                self.speculator.restored(slot.tokens[: result.draft_n])
            self._restored(done=result.restored)
            return self.drain()
        self._account(step, result)
        if step.propose is not None:
            self._proposed(result)
            return self.drain()
        drawn = result.by_slot()
        if step.phase is Phase.DECODE:
            self._speculated(step, drawn, result.seconds)
        for chunk in step.chunks:
            slot = self._slots[chunk.slot]
            # Of drafts, KV stays as far as draws agreed.
            slot.n = chunk.start + len(drawn[slot.id] if step.phase is Phase.DECODE else chunk.tokens)
            sequence = slot.sequence
            if sequence is None:
                self._settled(slot)
                continue
            if step.phase is Phase.PREFILL:
                self._prefilled(slot, sequence, result.finished)
            taken = drawn.get(chunk.slot, ())
            for i, one in enumerate(taken):
                # Behind the end of an answer drafts may have gone on.
                if slot.sequence is sequence:
                    if sequence.tells_runs and i < len(taken) - 1:
                        # All but the last are what was drafted.
                        sequence.accepted.add(sequence.n_generated)
                    self._take(slot, sequence, one, result.finished)
            if slot.sequence is sequence:
                self._save(slot, len(sequence.prompt), ended=False)
        return self.drain()

    # --- admission

    def _admit(self, now: float) -> None:
        later: list[Sequence] = []
        while (sequence := self._waiting.next(self._slots, now, later)) is not None:
            offer: Offer | None = sequence.offer
            if self.rules.copies and worth_waiting(self._slots, self._prefilling, sequence, offer, self.rules.use):
                later.append(sequence)
                continue
            self._waiting.remove(sequence)
            place = seat(self._slots, sequence, offer, self.rules.use, prefill_rate=self._prefill_rate)
            slot = place.slot
            self._make_room(place, sequence)
            self._uses += 1
            slot.used = self._uses
            sequence.admitted = now
            if place.restore and offer is not None:
                fetch = Fetch(sequence.request_id, offer, place.restore)
                self._restoring.want(Coming(slot, fetch, place.divergence))
            else:
                self._begin(slot, place.divergence)

    def _make_room(self, place: Seat, sequence: Sequence) -> None:
        """The slot's KV becomes what the sequence keeps of it, or a copy of another slot's."""
        slot, keep = place.slot, place.keep
        if place.source is not None:
            source = place.source
            self._copies.append(Copy(source.id, slot.id, keep))
            self._trim.pop(slot.id, None)
            slot.n, slot.prefilled, slot.saved = source.n, source.prefilled, source.saved
            slot.state, slot.floor = source.state, source.floor
        elif keep < slot.n or slot.settle_to:
            self._trim[slot.id] = keep
        slot.cut(keep)
        slot.floor = min(slot.floor, keep)
        slot.settle_to = slot.retry = 0
        slot.tokens[: len(sequence.prompt)] = sequence.prompt
        slot.sequence = sequence
        slot.scope, slot.owner = sequence.scope, sequence.owner

    def _begin(self, slot: Slot, divergence: Divergence | None, restored: int = 0) -> None:
        """What is known of the prompt is in the slot; the rest is computed."""
        sequence = slot.sequence
        if sequence is None:
            raise AssertionError("an empty slot begins")
        sequence.n_cached, sequence.n_restored = slot.n, restored
        sequence.divergence, sequence.offer = divergence, None
        sequence.cache_reason = cache_reason(sequence)
        self._prefilling.append(slot)
        self._save(slot, len(sequence.prompt), ended=False)
        self._events.append(Started(sequence.request_id, len(sequence.prompt), slot.n, restored, sequence.opening))

    def _restored(self, *, done: bool) -> None:
        coming = self._restoring.finish(done=done)
        slot, fetch = coming.slot, coming.fetch
        slot.forget()
        if done:
            slot.n = slot.saved = fetch.n
            slot.prefilled = min(fetch.offer.prefilled, fetch.n)
            if self.rules.saves.checkpoints:
                slot.state = slot.floor = fetch.n
        self._begin(slot, coming.divergence, slot.n)

    # --- saving

    def _save(self, slot: Slot, n_prompt: int, *, ended: bool) -> None:
        cut = due(slot, self.rules.saves, n_prompt=n_prompt, ended=ended)
        if cut is not None:
            self._cuts.append(cut)
            slot.saved = cut.stop
            if cut.state:
                slot.state = cut.n

    def _saved(self, step: Step, taken: Iterable[bool]) -> None:
        """What could not be taken over is tried again later."""
        for cut, kept in zip(step.cuts, taken, strict=True):
            slot = self._slots[cut.slot]
            if not kept and slot.owner == cut.owner:
                slot.saved = min(slot.saved, cut.start)
                slot.retry, slot.state = slot.n + BLOCK, 0

    # --- settling

    def _settle_step(self) -> Step | None:
        slot = next(filter(settling.unsettled, self._slots), None)
        if slot is None:
            return None
        # What was generated goes with the first of these steps.
        self._trim[slot.id] = slot.n
        end = min(slot.settle_to, slot.n + TILE)
        return self._step(Phase.PREFILL, (Chunk(slot.id, slot.n, slot.tokens[slot.n : end], None),))

    def _settled(self, slot: Slot) -> None:
        slot.prefilled = slot.n
        self._save(slot, 0, ended=slot.n >= slot.settle_to)

    # --- steps

    def _step(
        self,
        phase: Phase,
        chunks: tuple[Chunk, ...] = (),
        *,
        restore: Restore | None = None,
        cuts: tuple[Cut, ...] = (),
    ) -> Step:
        """With everything that has to happen to KV before."""
        trim, self._trim = tuple(self._trim.items()), {}
        copies, self._copies = tuple(self._copies), []
        return Step(phase, chunks, trim, copies, restore, cuts)

    def _prefill_step(self, slot: Slot) -> Step:
        sequence = slot.sequence
        if sequence is None:
            raise AssertionError("a slot without a sequence waits for prefill")
        total = len(sequence.prompt)
        end = next_cut(slot.n, total, self._budget())
        # The runner's arrays hold n_batch tokens; a last piece is at most TILE + SHORTEST_TAIL - 1.
        chunk = Chunk(slot.id, slot.n, slot.tokens[slot.n : end], self._draw(slot, sequence) if end == total else None)
        return self._step(Phase.PREFILL, (chunk,))

    def _budget(self) -> int:
        seconds = PIECE_SECONDS if self._running else ALONE_SECONDS
        wanted = int(self._prefill_rate * seconds) if self._prefill_rate else 4 * TILE
        return max(TILE, min(self.rules.n_batch, wanted))

    def _decode_step(self) -> Step:
        plan = self._plan = self.speculator.plan(list(self._running), self.rules.decode_width)
        if plan.proposal is not None:
            return self._propose_step(plan.proposal.slot, plan.proposal.k)
        chosen = [self._running[i] for i in range(plan.streams)]
        self._running.rotate(-len(chosen))
        # Streams of consecutive ids share a ubatch (llama-batch.cpp, split_equal).
        chosen.sort(key=lambda slot: slot.id)
        chunks = []
        for slot in chosen:
            if slot.sequence is None:
                raise AssertionError("a slot without a sequence runs")
            chunks.append(rows_of(slot, slot.sequence, plan))
        return self._step(Phase.DECODE, tuple(chunks))

    def _propose_step(self, slot: Slot, k: int) -> Step:
        if slot.sequence is None:
            raise AssertionError("drafts are wanted for a slot without a sequence")
        tokens = slot.tokens[: slot.n + 1]
        return Step(Phase.DRAFT, (), propose=Propose(slot.id, tokens, k, LEAST, slot.sequence.drawer))

    def _proposed(self, result: Result) -> None:
        if self._plan is None:
            raise AssertionError("nobody asked the draft model")
        self.speculator.proposed(self._plan, result.proposed, result.seconds)

    def _speculated(self, step: Step, drawn: dict[int, list[Drawn | dict[str, Any]]], seconds: float) -> None:
        if self._plan is None:
            raise AssertionError("a decoding step without a plan")
        tokens = {slot: [one.token for one in some if isinstance(one, Drawn)] for slot, some in drawn.items()}
        self.speculator.settle(self._plan, [self._slots[chunk.slot] for chunk in step.chunks], tokens, seconds)

    def _draw(self, slot: Slot, sequence: Sequence) -> Draw | None:
        """For the last piece of a prompt."""
        if sequence.remaining <= 0:
            return None
        given = sequence.given if sequence.tolerance > 0.0 else None
        suggested = () if given is None else tuple(given[:1].tolist())
        tokens = slot.tokens[: len(sequence.prompt)]
        return Draw(sequence.drawer, tokens, sequence.remaining, suggested=suggested, tolerance=sequence.tolerance)

    def _account(self, step: Step, result: Result) -> None:
        self._charge(step, result)
        if step.phase in (Phase.DECODE, Phase.DRAFT):
            self._decode_credit -= result.seconds
            return
        self._decode_credit = result.seconds * DECODE_SHARE / (1.0 - DECODE_SHARE)
        if result.seconds > 0.0:
            rate = step.n_tokens / result.seconds
            self._prefill_rate = rate if not self._prefill_rate else 0.7 * self._prefill_rate + 0.3 * rate

    def _charge(self, step: Step, result: Result) -> None:
        named = [chunk.slot for chunk in step.chunks] if step.propose is None else [step.propose.slot]
        for sequence in (self._slots[i].sequence for i in named):
            if sequence is not None:
                self._waiting.charge(sequence.client, result.seconds / len(named), result.finished)

    # --- outcomes

    def _prefilled(self, slot: Slot, sequence: Sequence, now: float) -> None:
        slot.prefilled = slot.n
        total = len(sequence.prompt)
        elapsed = (now - (sequence.admitted or 0.0)) * 1e3
        self._events.append(Progress(sequence.request_id, slot.n, total, sequence.n_cached, elapsed))
        if slot.n < total:
            # The next prompt gets its turn: a long one does not hold up a short one behind it.
            self._prefilling.rotate(-1)
            return
        sequence.prefilled = now
        self._prefilling.remove(slot)
        if not sequence.held:
            self._running.appendleft(slot)
        self.speculator.begin(slot, sequence)
        if sequence.remaining <= 0:
            self._release(slot, FinishReason.LENGTH)

    def _take(self, slot: Slot, sequence: Sequence, drawn: Any, now: float) -> None:
        if isinstance(drawn, dict):
            self._drop(slot)
            self._events.append(Failed(sequence.request_id, drawn))
            return
        slot.tokens[len(sequence.prompt) + sequence.n_generated] = drawn.token
        delta = sequence.advance(drawn, now)
        if delta is not None:
            self._events.append(delta)
        if sequence.finish is not None:
            self._release(slot, sequence.finish)

    def _release(self, slot: Slot, reason: FinishReason) -> None:
        sequence = self._drop(slot)
        self._save(slot, len(sequence.prompt), ended=True)
        if not self.rules.reuse_generated and self.rules.trimming is Trimming.ANYWHERE:
            settling.begin(slot)
        self._ended.append(sequence)
        self._finish(sequence, reason)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if sequence.finish is None:
            delta = sequence.end(reason)
            if delta is not None:
                self._events.append(delta)
        self._events.append(
            Finished(
                sequence.request_id,
                sequence.finish or reason,
                n_prompt=len(sequence.prompt),
                timings=sequence.timings(),
                exact=self.rules.exact,
                stop_string=sequence.stop_string,
                draft_runs=sequence.draft_runs(),
                n_chars=sequence.n_chars,
                speculation=report(self.speculator, len(sequence.prompt)) if sequence.report else None,
            )
        )

    def _drop(self, slot: Slot) -> Sequence:
        """Take the sequence out of its slot; its KV stays."""
        sequence = slot.sequence
        if sequence is None:
            raise AssertionError("an empty slot is dropped")
        self.speculator.end(slot, sequence)
        slot.sequence = None
        self._restoring.drop(sequence.request_id)
        if any(copy.target == slot.id for copy in self._copies):
            # The copy was not made; what the slot really holds belongs to nobody any more.
            self._copies = [copy for copy in self._copies if copy.target != slot.id]
            self._empty(slot)
        for queue in (self._running, self._prefilling):
            if slot in queue:
                queue.remove(slot)
        return sequence

    def _fail(self, step: Step, error: dict[str, Any]) -> None:
        """Nothing is known of the KV of any slot that the step was to change: it is emptied, and what was not computed
        in this step is computed anew."""
        if step.restore is not None:
            self._restored(done=False)
        self._saved(step, [False] * len(step.cuts))
        named = {copy.target for copy in step.copies} | {slot for slot, _ in step.trim}
        if step.restore is not None:
            named.add(step.restore.slot)
        for slot in (self._slots[i] for i in named):
            self._empty(slot)
            if slot.sequence is not None:
                slot.sequence.n_cached = slot.sequence.n_restored = 0
        for slot in (self._slots[chunk.slot] for chunk in step.chunks):
            self._empty(slot)
            if slot.sequence is not None:
                self._events.append(Failed(self._drop(slot).request_id, error))

    def _empty(self, slot: Slot) -> None:
        slot.forget()
        self._trim[slot.id] = 0
