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
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from fireside_engine.core.events import Event, Failed, Finished, FinishReason, Timings
from fireside_engine.core.request import Request
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Result, Step
from fireside_engine.errors import FiresideError, InternalError
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.protocol import Beat, Happened

BEAT_SECONDS = 1.0

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What executes steps: a model, or a fake of one."""

    def execute(self, step: Step, /) -> Result: ...


class Driver:
    """Drives one scheduler and one runner."""

    def __init__(
        self, scheduler: Scheduler, runner: Runner, prepare: Callable[[Request], Sequence], outbox: Outbox
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._prepare = prepare
        self._outbox = outbox
        self._changed = threading.Condition()
        self._inbox: deque[Callable[[], None]] = deque()
        self._cancelled: set[str] = set()
        """Cancelled while still being prepared."""
        self._preparing: set[str] = set()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="prepare")
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

    def close(self) -> None:
        """Leave `run` after the present step."""
        self._is_closed = True
        self._post(lambda: None)

    def beat(self) -> Beat:
        since = self._busy_since
        busy = 0.0 if since is None else time.perf_counter() - since
        return Beat(busy, self._scheduler.n_active, self._scheduler.n_waiting + len(self._preparing))

    # --- preparing

    def _prepared(self, request: Request) -> None:
        outcome: Sequence | FiresideError
        try:
            outcome = self._prepare(request)
        except FiresideError as error:
            outcome = error
        except Exception as error:
            log.exception("a request could not be prepared")
            outcome = InternalError(f"The request could not be prepared ({type(error).__name__}).")
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
            self._receive(wait=self._scheduler.n_active == 0 and self._scheduler.n_waiting == 0)
            step = self._scheduler.schedule(time.perf_counter())
            self._deliver(self._scheduler.drain())
            if step is not None:
                self._busy_since = time.perf_counter()
                result = self._runner.execute(step)
                self._busy_since = None
                self._deliver(self._scheduler.commit(step, result))
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _receive(self, *, wait: bool) -> None:
        with self._changed:
            while wait and not self._inbox:
                self._changed.wait()
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
