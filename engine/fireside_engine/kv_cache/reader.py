"""Threads that look up and read, and a watch over them: a disk that hangs costs an answer two seconds, once.

A thread that waits for a hung disk cannot be called back. It is left behind, its tier is off for a minute, and a new
thread takes its place.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from fireside_engine.core.blocks import Tokens
from fireside_engine.kv_cache.found import Found, StateRef
from fireside_engine.kv_cache.store import Fetched, Store

DEADLINE = 2.0
"""Seconds for a look-up, and for each record."""
THREADS = 2
MOST_LEFT_BEHIND = 16
"""Hung threads; with as many, no new one is started until one of them comes back."""
_SMOOTHING = 0.3
"""Weight of the last measurement of the disk's speed."""


class _Job(ABC):
    """One question, answered in steps."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self.since: float | None = None
        """When the present step began; None while it waits for a thread."""

    @abstractmethod
    def act(self, step: Callable[[], None]) -> object:
        """The answer. Calls `step` before everything that may take the time of one record."""

    @abstractmethod
    def so_far(self) -> object:
        """The answer when the disk hangs: what is known."""


class _Find(_Job):
    def __init__(self, store: Store, root: bytes, tokens: Tokens, states_alone: bool) -> None:
        super().__init__()
        self._store, self._root, self._tokens, self._states_alone = store, root, tokens, states_alone

    def act(self, step: Callable[[], None]) -> Found:
        step()
        return self._store.lookup(self._root, self._tokens, states_alone=self._states_alone)

    def so_far(self) -> Found:
        return Found(self._root)


class _Recall(_Job):
    def __init__(self, store: Store, root: bytes, digests: Sequence[bytes]) -> None:
        super().__init__()
        self._store, self._root, self._digests = store, root, digests

    def act(self, step: Callable[[], None]) -> Mapping[bytes, tuple[int, ...]]:
        step()
        return self._store.recall(self._root, self._digests)

    def so_far(self) -> Mapping[bytes, tuple[int, ...]]:
        return {}


class _Fetch(_Job):
    def __init__(self, store: Store, found: Found, pieces: int | None, states: Sequence[StateRef]) -> None:
        super().__init__()
        self._store, self._found, self._wanted, self._refs = store, found, found.pieces[:pieces], states
        self._rows: list[memoryview] = []
        self._states: list[memoryview | None] = []

    def act(self, step: Callable[[], None]) -> Fetched:
        for piece in self._wanted:
            step()
            payload = self._store.read_piece(self._found.root, piece)
            if payload is None:
                break
            self._rows.append(payload)
        for state in self._refs:
            step()
            self._states.append(self._store.read_state(self._found.root, state))
        return self.so_far()

    def so_far(self) -> Fetched:
        missing = [None] * (len(self._refs) - len(self._states))
        return Fetched(tuple(self._rows), (*self._states, *missing))


class Reader:
    def __init__(
        self,
        store: Store,
        *,
        threads: int = THREADS,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._deadline = deadline
        self._clock = clock
        self._jobs: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._alive = 0
        """Threads that take jobs."""
        self._left_behind = 0
        self._closing = False
        self._changed = threading.Condition()
        self._speed: float | None = None
        with self._changed:
            for _ in range(threads):
                self._start_thread()
        threading.Thread(target=self._watch, name="kv watch", daemon=True).start()

    @property
    def bytes_per_second(self) -> float | None:
        """How fast records were read and checked lately; None before the first."""
        return self._speed

    def find(self, root: bytes, tokens: Tokens, *, states_alone: bool = False) -> Future[Found]:
        """See `Store.lookup`."""
        return self._add(_Find(self._store, root, tokens, states_alone))

    def recall(self, root: bytes, text_digests: Sequence[bytes]) -> Future[Mapping[bytes, tuple[int, ...]]]:
        """See `Store.recall`."""
        return self._add(_Recall(self._store, root, text_digests))

    def fetch(self, found: Found, pieces: int | None = None, states: Sequence[StateRef] = ()) -> Future[Fetched]:
        """See `Store.read`. Where the disk hangs, the rows read so far."""
        return self._add(_Fetch(self._store, found, pieces, states))

    def close(self) -> None:
        """Questions that wait end as misses."""
        with self._changed:
            self._closing = True
            waiting, self._jobs = self._jobs, deque()
            self._changed.notify_all()
        _give_up(waiting)

    # --- inside

    def _add(self, job: _Job) -> Future[Any]:
        with self._changed:
            if not self._closing and self._alive and self._store.tier.reading.on:
                self._jobs.append(job)
                self._changed.notify_all()
                return job.future
        job.future.set_result(job.so_far())
        return job.future

    def _start_thread(self) -> None:
        self._alive += 1
        threading.Thread(target=self._run, name="kv reader", daemon=True).start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            began = self._clock()
            answer: object = None
            failure: Exception | None = None
            try:
                answer = job.act(partial(self._step, job))
            except Exception as defect:  # noqa: BLE001 - it is handed to whoever asked
                failure = defect
            if not self._finish(job):
                return
            self._measure(answer, self._clock() - began)
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(answer)

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            if self._closing:
                self._alive -= 1
                return None
            job = self._jobs.popleft()
            job.since = self._clock()
            self._running.add(job)
            self._changed.notify_all()
            return job

    def _step(self, job: _Job) -> None:
        job.since = self._clock()

    def _finish(self, job: _Job) -> bool:
        """False where the job was given up meanwhile: then this thread has been replaced, or is not wanted."""
        with self._changed:
            if job in self._running:
                self._running.discard(job)
                return True
            self._left_behind -= 1
            if self._alive == 0 and not self._closing:
                self._start_thread()
            return False

    def _measure(self, answer: object, seconds: float) -> None:
        if not isinstance(answer, Fetched) or not answer.rows or seconds <= 0:
            return
        size = sum(payload.nbytes for payload in (*answer.rows, *filter(None, answer.states)))
        last = self._speed if self._speed is not None else size / seconds
        self._speed = (1 - _SMOOTHING) * last + _SMOOTHING * size / seconds

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._closing)
                if self._closing and not self._running:
                    return
                now = self._clock()
                hung = [job for job in self._running if job.since is not None and now - job.since > self._deadline]
                for job in hung:
                    self._running.discard(job)
                    self._alive -= 1
                    self._left_behind += 1
                    if self._left_behind < MOST_LEFT_BEHIND and not self._closing:
                        self._start_thread()
                lost: deque[_Job] = deque()
                if self._alive == 0:
                    lost, self._jobs = self._jobs, deque()
            if hung:
                self._store.tier.count("disk_hangs", len(hung))
                self._store.tier.reading.failed(f"the disk has not answered for {self._deadline:.0f} s")
            _give_up([*hung, *lost])
            time.sleep(self._deadline / 8)


def _give_up(jobs: Iterable[_Job]) -> None:
    for job in jobs:
        job.future.set_result(job.so_far())
