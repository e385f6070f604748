"""The loop of a worker: what comes in, one step after the other, what goes out.

One thread owns the model. Requests are prepared on other threads, and replies are written by another, so that neither a
slow template nor a full pipe ever holds up the batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol

from fireside_engine.core.events import Event, Failed, Finished, FinishReason, Timings
from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer
from fireside_engine.core.request import Request
from fireside_engine.core.restoring import Restored
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.speculation.tenure import Wish
from fireside_engine.core.step import Phase, Result, Step
from fireside_engine.errors import FiresideError
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.pools import started_pool, typed
from fireside_engine.worker.protocol import Beat, Happened

BEAT_SECONDS = 1.0

REST_SECONDS = 20.0
"""Without work for this long, buffers are given back."""

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What executes steps: a model, or a fake of one."""

    def execute(self, step: Step, /) -> Result: ...

    def rest(self) -> None:
        """Nothing was computed for a while: memory that only serves speed may go."""
        ...


class Cache(Protocol):
    """Where KV is kept between runs."""

    def find(self, sequence: Sequence, /) -> Offer | None:
        """What is there of a prompt. Called on threads beside decoding."""
        ...

    def fetch(self, fetch: Fetch, done: Callable[[Any | None, int], None], /) -> None:
        """Read it; `done` gets what the runner restores, or None, and how many tokens that are. Does not block."""
        ...

    def restored(self, restored: Restored, /) -> None:
        """What was fetched is in use."""
        ...

    def ended(self, sequence: Sequence, /) -> None:
        """An answer is complete. Called on threads beside decoding."""
        ...

    def forget(self, owner: Owner | None, /, *, drop: bool) -> None:
        """KV of a conversation, or (None) any, was deleted from disk: nothing of it may come back or be written.
        `drop`: what is in memory of it goes as well."""
        ...


class Companion(Protocol):
    """Where the draft model comes from and goes to."""

    def leave(self, why: str, pool: Executor, /) -> None:
        """Free its memory."""
        ...

    def come(self, pool: Executor, done: Callable[[Any | None], None], /) -> None:
        """Load it; `done` is called on another thread, with None where it cannot be had."""
        ...

    def seat(self, drafter: Any, /) -> None:
        """It is loaded."""
        ...


class NoCache:
    """KV lives in memory only."""

    def find(self, _sequence: Sequence, /) -> Offer | None:
        return None

    def fetch(self, _fetch: Fetch, done: Callable[[Any | None, int], None], /) -> None:
        done(None, 0)

    def restored(self, _restored: Restored, /) -> None:
        return

    def ended(self, _sequence: Sequence, /) -> None:
        return

    def forget(self, _owner: Owner | None, /, *, drop: bool) -> None:  # noqa: ARG002 - there is nothing to drop
        return


class Driver:
    """Drives one scheduler and one runner."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        prepare: Callable[[Request], Sequence],
        outbox: Outbox,
        cache: Cache | None = None,
        companion: Companion | None = None,
    ) -> None:
        self._companion = companion
        self._cache: Cache = cache or NoCache()
        self._scheduler = scheduler
        self._runner = runner
        self._prepare = prepare
        self._outbox = outbox
        self._changed = threading.Condition()
        self._inbox: deque[Callable[[], None]] = deque()
        self._cancelled: set[str] = set()
        """Cancelled while still being prepared."""
        self._preparing: set[str] = set()
        self._pool = started_pool(4, "prepare")
        self._busy_since: float | None = None
        self._is_closed = False

    # --- from any thread

    def submit(self, request: Request) -> None:
        with self._changed:
            self._preparing.add(request.id)
        self._pool.submit(self._prepared, request)

    def cancel(self, request_id: str) -> None:
        with self._changed:
            if request_id in self._preparing:
                self._cancelled.add(request_id)
                return
        self._post(lambda: self._cancel(request_id))

    def hold(self, request_id: str, *, held: bool) -> None:
        """See `Scheduler.hold`."""
        self._post(lambda: self._scheduler.hold(request_id, held=held))

    def forget(self, owner: Owner | None, *, drop: bool) -> None:
        """KV was deleted from disk; see `Scheduler.forget`."""
        self._post(lambda: self._forget(owner, drop=drop))

    def close(self) -> None:
        """Leave `run` after the present step. What runs is cancelled, and its KV saved."""
        self._is_closed = True
        self._post(lambda: None)

    def beat(self) -> Beat:
        since = self._busy_since
        busy = 0.0 if since is None else time.perf_counter() - since
        return Beat(busy, self._scheduler.n_active, self._scheduler.n_waiting + len(self._preparing))

    def _forget(self, owner: Owner | None, *, drop: bool) -> None:
        self._scheduler.forget(owner, drop=drop)
        # What was cut before lies with the cache by now.
        self._cache.forget(owner, drop=drop)

    # --- preparing

    def _prepared(self, request: Request) -> None:
        outcome: Sequence | FiresideError
        try:
            outcome = self._prepare(request)
            outcome.offer = self._cache.find(outcome)
        except FiresideError as error:
            outcome = error
        except Exception as error:
            log.exception("a request could not be prepared")
            outcome = typed(error, "The request could not be prepared")
        with self._changed:
            self._preparing.discard(request.id)
            cancelled = request.id in self._cancelled
            self._cancelled.discard(request.id)
        if cancelled:
            self._send(Finished(request.id, FinishReason.CANCELLED, 0, Timings()))
        elif isinstance(outcome, FiresideError):
            self._send(Failed(request.id, outcome.to_dict()))
        else:
            sequence = outcome
            self._post(lambda: self._scheduler.submit(sequence))

    # --- the loop

    def run(self) -> None:
        """Until `close`. The calling thread owns the model from here on."""
        while not self._is_closed:
            self._receive(wait=self._scheduler.is_idle)
            step = self._scheduler.schedule(time.perf_counter())
            self._after()
            if step is not None:
                self._execute(step)
                self._after()
            self._attend()
        self._spill()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _execute(self, step: Step) -> None:
        self._busy_since = time.perf_counter()
        result = self._runner.execute(step)
        self._busy_since = None
        self._deliver(self._scheduler.commit(step, result))

    def _after(self) -> None:
        """What the scheduler wants of others."""
        self._deliver(self._scheduler.drain())
        for fetch in self._scheduler.fetches():
            self._cache.fetch(fetch, partial(self._fetched, fetch.request_id))
        for restored in self._scheduler.restored():
            self._cache.restored(restored)
        for sequence in self._scheduler.ended():
            if self._is_closed:
                self._ended(sequence)
            else:
                self._pool.submit(self._ended, sequence)

    def _attend(self) -> None:
        """The draft model comes or goes, as the scheduler wishes."""
        if self._companion is None:
            return
        match self._scheduler.draft_wish():
            case Wish.FREE:
                model = self._scheduler.speculator.model
                self._scheduler.speculator.left()
                self._companion.leave(model.useless if model is not None else "", self._pool)
            case Wish.LOAD:
                self._companion.come(self._pool, lambda drafter: self._post(lambda: self._came(drafter)))

    def _came(self, drafter: Any | None) -> None:
        if self._companion is None or drafter is None:
            self._scheduler.speculator.tenure.stayed_away()
            return
        self._companion.seat(drafter)
        self._scheduler.speculator.came()

    def _fetched(self, request_id: str, payload: Any | None, n: int) -> None:
        self._post(lambda: self._scheduler.fetched(request_id, payload, n))

    def _ended(self, sequence: Sequence) -> None:
        try:
            self._cache.ended(sequence)
        except Exception:
            log.exception("an answer could not be remembered")

    def _spill(self) -> None:
        """The process leaves: KV of what still runs goes where the next one finds it."""
        self._scheduler.cancel_all()
        while (step := self._scheduler.schedule(time.perf_counter())) is not None and step.phase is Phase.SAVE:
            self._execute(step)
        self._after()

    def _receive(self, *, wait: bool) -> None:
        with self._changed:
            resting = False
            while wait and not self._inbox:
                if not self._changed.wait(None if resting else REST_SECONDS) and not resting:
                    resting = True
                    self._runner.rest()
            actions, self._inbox = self._inbox, deque()
        for action in actions:
            action()

    def _post(self, action: Callable[[], None]) -> None:
        with self._changed:
            self._inbox.append(action)
            self._changed.notify()

    def _cancel(self, request_id: str) -> None:
        self._scheduler.cancel(request_id)
        self._deliver(self._scheduler.drain())

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            self._send(event)

    def _send(self, event: Event) -> None:
        self._outbox.send(Happened(event))
