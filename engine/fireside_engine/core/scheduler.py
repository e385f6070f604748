"""Who computes what next. Pure state: no clock, no thread, no llama.cpp; times come in with results.

    while step := scheduler.schedule(): for event in scheduler.commit(step, runner.execute(step)): ...

Rules: requests are admitted first come first served. A step is either one piece of one prompt or one token for each of
several running sequences, never both. While sequences run, prompts get short pieces, and a fixed share of the time
stays with the running ones, so that neither side ever waits long. Of running sequences the one that waited longest goes
first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fireside_engine.core.events import Event, Failed, Finished, FinishReason, Progress, Started
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.slot import Slot
from fireside_engine.core.step import Chunk, Draw, Phase, Result, Step
from fireside_engine.core.window import TILE, next_cut, reusable

DECODE_SHARE = 0.4
"""Share of the time that running sequences keep while prompts are read."""

PIECE_SECONDS = 0.5
"""A piece of a prompt takes about this long while sequences run: the longest pause a reader sees."""

ALONE_SECONDS = 1.0
"""The same when nothing runs: how long a cancellation may wait, and how often progress is told."""


class Trimming(Enum):
    """What the model's memory allows when a slot's KV is longer than the prefix it is wanted for."""

    ANYWHERE = "anywhere"
    """Plain attention: KV can be cut after any token."""
    NEVER = "never"
    """Recurrent state and sliding windows: KV serves only as a whole."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one loaded model is driven."""

    n_slots: int
    n_ctx: int
    """Tokens one sequence may have."""
    n_batch: int
    """Tokens of the longest piece of a prompt; a multiple of TILE."""
    decode_width: int
    """Sequences decoded in one batch."""
    reuse_generated: bool = True
    """KV of generated tokens may serve as part of a prompt."""
    trimming: Trimming = Trimming.ANYWHERE
    exact: bool = False
    """Every text is byte for byte that of its request alone."""


class Scheduler:
    """Slots, the queue before them, and the order of steps."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._slots = [Slot(i, rules.n_ctx) for i in range(rules.n_slots)]
        self._waiting: deque[Sequence] = deque()
        self._running: deque[Slot] = deque()
        """Slots that decode, the one that waited longest first."""
        self._prefilling: deque[Slot] = deque()
        self._trim: dict[int, int] = {}
        self._events: list[Event] = []
        self._uses = 0
        self._decode_credit = 0.0
        """Seconds that running sequences are owed before the next piece of a prompt."""
        self._prefill_rate = 0.0
        """Tokens per second of the latest pieces; 0 until one was measured."""

    # --- what comes in

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence whose prompt is shorter than `n_ctx`."""
        if len(sequence.prompt) >= self.rules.n_ctx:
            raise ValueError(f"a prompt of {len(sequence.prompt)} tokens in a context of {self.rules.n_ctx}")
        self._waiting.append(sequence)

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

    def drain(self) -> list[Event]:
        """Events that arose outside of `commit`."""
        events, self._events = self._events, []
        return events

    @property
    def n_active(self) -> int:
        return len(self._running) + len(self._prefilling)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def slots(self) -> Iterator[Slot]:
        """For display and tests; not to be changed."""
        return iter(self._slots)

    # --- the loop

    def schedule(self, now: float) -> Step | None:
        """The next step, or None when there is nothing to do."""
        self._admit(now)
        if self._prefilling and (not self._running or self._decode_credit <= 0.0):
            return self._prefill_step(self._prefilling[0])
        if self._running:
            return self._decode_step()
        return None

    def commit(self, step: Step, result: Result) -> list[Event]:
        """Digest what was computed; returns the events it caused, in order."""
        if result.failed is not None:
            self._fail(step, result.failed)
            return self.drain()
        self._account(step, result)
        drawn = dict(result.drawn)
        for chunk in step.chunks:
            slot = self._slots[chunk.slot]
            slot.n = chunk.start + len(chunk.tokens)
            sequence = slot.sequence
            if sequence is None:
                raise AssertionError("a slot lost its sequence during a step")
            if step.phase is Phase.PREFILL:
                self._prefilled(slot, sequence, result.finished)
            if chunk.draw is not None:
                self._take(slot, sequence, drawn[chunk.slot], result.finished)
        return self.drain()

    # --- admission

    def _admit(self, now: float) -> None:
        while self._waiting:
            free = [slot for slot in self._slots if slot.sequence is None]
            if not free:
                return
            sequence = self._waiting.popleft()
            slot, keep = self._choose(free, sequence)
            if keep < slot.n:
                self._trim[slot.id] = keep
            slot.n = keep
            slot.prefilled = min(slot.prefilled, keep)
            slot.tokens[: len(sequence.prompt)] = sequence.prompt
            slot.sequence = sequence
            self._uses += 1
            slot.used = self._uses
            sequence.admitted = now
            sequence.n_cached = keep
            self._prefilling.append(slot)
            self._events.append(Started(sequence.request_id, len(sequence.prompt), keep))

    def _choose(self, free: list[Slot], sequence: Sequence) -> tuple[Slot, int]:
        """The free slot whose KV serves most of the prompt; otherwise the emptiest, then the least recently used."""
        offers = [(slot, self._keep(slot, sequence)) for slot in free]
        return max(offers, key=lambda offer: (offer[1], offer[0].n == 0, -offer[0].used, -offer[0].id))

    def _keep(self, slot: Slot, sequence: Sequence) -> int:
        common = slot.common(sequence.prompt)
        keep = reusable(common, slot.prefilled, len(sequence.prompt), generated=self.rules.reuse_generated)
        if keep < slot.n and self.rules.trimming is Trimming.NEVER:
            return 0
        return keep

    # --- steps

    def _take_trim(self) -> tuple[tuple[int, int], ...]:
        trim, self._trim = tuple(self._trim.items()), {}
        return trim

    def _prefill_step(self, slot: Slot) -> Step:
        sequence = slot.sequence
        if sequence is None:
            raise AssertionError("a slot without a sequence waits for prefill")
        total = len(sequence.prompt)
        end = next_cut(slot.n, total, self._budget())
        # The runner's arrays hold n_batch tokens; a last piece is at most TILE + SHORTEST_TAIL - 1.
        chunk = Chunk(slot.id, slot.n, slot.tokens[slot.n : end], self._draw(slot, sequence) if end == total else None)
        return Step(Phase.PREFILL, (chunk,), self._take_trim())

    def _budget(self) -> int:
        seconds = PIECE_SECONDS if self._running else ALONE_SECONDS
        wanted = int(self._prefill_rate * seconds) if self._prefill_rate else 4 * TILE
        return max(TILE, min(self.rules.n_batch, wanted))

    def _decode_step(self) -> Step:
        chosen = [self._running[i] for i in range(min(self.rules.decode_width, len(self._running)))]
        self._running.rotate(-len(chosen))
        # Streams of consecutive ids share a ubatch (llama-batch.cpp, split_equal).
        chosen.sort(key=lambda slot: slot.id)
        chunks = []
        for slot in chosen:
            if slot.sequence is None:
                raise AssertionError("a slot without a sequence runs")
            tokens = slot.tokens[slot.n : slot.n + 1]
            chunks.append(Chunk(slot.id, slot.n, tokens, self._draw(slot, slot.sequence)))
        return Step(Phase.DECODE, tuple(chunks), self._take_trim())

    def _draw(self, slot: Slot, sequence: Sequence) -> Draw | None:
        if sequence.remaining <= 0:
            return None
        length = len(sequence.prompt) + sequence.n_generated
        return Draw(sequence.drawer, slot.tokens[:length], sequence.remaining)

    def _account(self, step: Step, result: Result) -> None:
        if step.phase is Phase.DECODE:
            self._decode_credit -= result.seconds
            return
        self._decode_credit = result.seconds * DECODE_SHARE / (1.0 - DECODE_SHARE)
        if result.seconds > 0.0:
            rate = step.n_tokens / result.seconds
            self._prefill_rate = rate if not self._prefill_rate else 0.7 * self._prefill_rate + 0.3 * rate

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
        self._running.appendleft(slot)
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
            )
        )

    def _drop(self, slot: Slot) -> Sequence:
        """Take the sequence out of its slot; its KV stays."""
        sequence = slot.sequence
        if sequence is None:
            raise AssertionError("an empty slot is dropped")
        slot.sequence = None
        for queue in (self._running, self._prefilling):
            if slot in queue:
                queue.remove(slot)
        return sequence

    def _fail(self, step: Step, error: dict[str, Any]) -> None:
        for chunk in step.chunks:
            slot = self._slots[chunk.slot]
            slot.forget()
            self._trim[slot.id] = 0
            if slot.sequence is not None:
                self._events.append(Failed(self._drop(slot).request_id, error))
