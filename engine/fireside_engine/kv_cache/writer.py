"""The thread that writes, so that no thread which computes ever waits for the disk.

Its priority is left alone: a 7 MB block costs it 3 ms, nearly all of them without the interpreter's lock, and a thread
that is rarely scheduled would hold that lock for long when it is in the middle of Python code.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from fireside_engine.core.blocks import Tokens
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache.found import Found
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.record import Record
from fireside_engine.kv_cache.store import Store

log = logging.getLogger(__name__)

QUEUE_BYTES = 256 * 1024 * 1024
"""Payload that may wait; more is dropped, and counted."""
QUEUE_LENGTH = 4096
SLOW = 30.0
"""Seconds: a disk that takes longer for one record hangs, and nothing more is given to it."""


@dataclass(frozen=True, slots=True)
class _Job:
    act: Callable[[], object]
    size: int = 0
    owner: Owner | None = None
    """Whose record this is; None for what is done in any case."""


class Writer:
    """`sweep`: begin with what dead processes left."""

    def __init__(
        self,
        store: Store,
        *,
        limit: int = QUEUE_BYTES,
        sweep: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._limit = limit
        self._clock = clock
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        """Bytes, those of the present job included."""
        self._since: float | None = None
        """When the present job began."""
        self._closing = False
        self._changed = threading.Condition()
        if sweep:
            self._jobs.append(_Job(store.sweep))
        self._thread = threading.Thread(target=self._run, name="kv writer", daemon=True)
        self._thread.start()

    # --- never waits

    def submit(self, records: Iterable[Record]) -> int:
        """Have records stored; how many were taken. From the first that is dropped on, all are: they hang on it."""
        taken = 0
        for record in records:
            if not self._add(_Job(partial(self._store.put, [record]), record.size, record.owner)):
                break
            taken += 1
        return taken

    def used(self, found: Found, n: int, owner: Owner) -> None:
        """See `Store.used`."""
        self._add(_Job(partial(self._store.used, found, n, owner)))

    def remember(self, root: bytes, text_digest: bytes, tokens: Tokens, owner: Owner) -> None:
        """See `Store.remember`."""
        self._add(_Job(partial(self._store.remember, root, text_digest, tokens, owner), owner=owner))

    def forget(self, owner: Owner) -> None:
        """See `Store.forget`; what waits of this owner is not written any more."""
        with self._changed:
            dropped = [job for job in self._jobs if job.owner == owner]
            self._jobs = deque(job for job in self._jobs if job.owner != owner)
            self._waiting -= sum(job.size for job in dropped)
            self._jobs.append(_Job(partial(self._forget, owner)))
            self._changed.notify_all()

    # --- waits

    def flush(self, timeout: float) -> bool:
        """Until everything given so far is done; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and self._since is None, timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Write what waits, at most this long; False where some of it is lost."""
        done = self.flush(timeout)
        with self._changed:
            self._closing = True
            self._jobs.clear()
            self._changed.notify_all()
        if done:
            self._thread.join()
        return done

    # --- inside

    def _add(self, job: _Job) -> bool:
        with self._changed:
            if self._since is not None and self._clock() - self._since > SLOW and self._store.tier.writing.on:
                self._store.tier.count("disk_hangs")
                self._store.tier.writing.failed(f"the disk has not taken a record for {SLOW:.0f} s")
            full = self._waiting + job.size > self._limit or len(self._jobs) >= QUEUE_LENGTH
            if self._closing or full or not self._store.tier.writing.on:
                self._store.tier.count("dropped")
                return False
            self._jobs.append(job)
            self._waiting += job.size
            self._changed.notify_all()
            return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._since = self._clock()
            try:
                job.act()
            except Exception:
                # A defect here must not end the thread: the answers go on, and so does the cache.
                log.exception("the KV cache could not do one of its jobs")
            finally:
                with self._changed:
                    self._waiting -= job.size
                    self._since = None
                    self._changed.notify_all()

    def _forget(self, owner: Owner) -> None:
        try:
            self._store.forget(owner)
        except (OSError, Unavailable) as error:
            log.warning("a conversation could not be deleted from the KV cache: %s", error)
