"""One model as the server keeps it: loaded on demand, shared by its requests, unloaded when nobody wants it.

A resident outlives its worker processes: it remembers crashes, so that a restart waits longer each time, and it is the
one place where "start it", "it is starting" and "it is going away" meet.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fireside_engine import errors
from fireside_engine.core.events import Timings
from fireside_engine.core.fairness import may_enter
from fireside_engine.hardware import memory
from fireside_engine.server.crashes import CrashRecord, broken
from fireside_engine.server.granting import Grant, Planner
from fireside_engine.server.settings import Settings
from fireside_engine.server.worker_handle import WorkerHandle
from fireside_engine.worker.protocol import Loading, LoadOptions, ModelInfo

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "failed"]
FOREVER = -1.0
_SETTLING = 30.0
"""Seconds after a load until its process has loaded or compiled everything that it will need."""
_TELLING = 24
"""Tokens of an answer from which on its speed is learned from."""
_MEMORY_WORDS = ("alloc", "out of memory", "memoryerror")


def failed_for_memory(error: errors.FiresideError) -> bool:
    """A load that ended so may succeed with less: an allocation was refused, or the system ended the process."""
    if isinstance(error, errors.InsufficientMemory):
        return True
    if isinstance(error, errors.WorkerCrashed):
        words = " ".join(map(str, error.details.get("log", ()))).lower()
        return error.details.get("signal") == "SIGKILL" or any(word in words for word in _MEMORY_WORDS)
    return False


@dataclass(frozen=True, slots=True)
class ModelKey:
    """Equal keys share one worker. A file that is replaced is another model."""

    path: str
    modified_ns: int
    options: LoadOptions


class Resident:
    def __init__(
        self,
        key: ModelKey,
        name: str,
        settings: Settings,
        planner: Planner,
        make_room: Callable[[Resident], Awaitable[Grant]],
        find_draft: Callable[[], Path | None] | None = None,
    ) -> None:
        self.key = key
        self.name = name
        self.outstanding = 0
        """Requests that wait for this model or are answered by it."""
        self.keep_alive = settings.keep_alive
        self.last_used = self._now()
        self.ready_at = 0.0
        self.retired = False
        """It leaves as soon as it is idle, whatever its `keep_alive`."""
        self.error: errors.FiresideError | None = None
        """Why it last went down, until it works again."""
        self.force = False
        """Its next load is tried even where it should not fit."""
        self.grant: Grant | None = None
        """How it was loaded, and what that was expected to take."""
        self.drift = ""
        """What it took beyond that, in words."""
        self._planner = planner
        self._settled = False
        """Its process has everything in memory that it will have, and the planner knows how much."""
        self._learning: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._make_room = make_room
        self._find_draft = find_draft
        """Not part of the key: a model that comes to the folder makes nobody load again."""
        self._crashes = CrashRecord(settings)
        self._worker: WorkerHandle | None = None
        self._starting: asyncio.Task[WorkerHandle] | None = None
        self._loading: WorkerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: set[Callable[[Loading], None]] = set()
        self._seconds_per_request = 1.0
        self._brought: Counter[str] = Counter()
        """Outstanding requests by client."""

    # --- what it is

    @property
    def state(self) -> State:
        if self._starting is not None:
            return "loading"
        if self._worker is not None:
            return "ready"
        return "failed" if self.error is not None else "unloaded"

    @property
    def info(self) -> ModelInfo | None:
        return self._worker.info if self._worker is not None else None

    @property
    def handle(self) -> WorkerHandle | None:
        """The process, while it is loading or loaded."""
        return self._worker or self._loading

    @property
    def idle(self) -> bool:
        return self.outstanding == 0 and self._starting is None

    def loaded_for(self) -> float:
        """Seconds since it was loaded."""
        return self._now() - self.ready_at

    def keep_alive_left(self) -> float | None:
        """Seconds until it is unloaded; -1 when it stays for good, None while it is in use."""
        if self._timer is None:
            return FOREVER if self.idle and self._worker is not None else None
        return max(0.0, self._timer.when() - self._now())

    # --- requests

    def enter(self, count: int, client: str = "") -> None:
        """Count requests of a client in. Raises Overloaded when as many as may wait are waiting, of it or of all."""
        slots = self.info.n_slots if self.info is not None else 1
        if not may_enter(self._brought[client], self.outstanding, count, slots + self._settings.max_waiting):
            waiting = max(0, self.outstanding - slots)
            # Jitter, so that those who were turned away together do not come back together.
            seconds = (waiting + 1) / slots * self._seconds_per_request * random.uniform(0.8, 1.2)
            after = min(60, max(1, math.ceil(seconds)))
            message = f"{waiting} requests are waiting for {self.name} already."
            raise errors.Overloaded(message, hint=f"Try again in {after} s.", retry_after=after)
        self.outstanding += count
        self._brought[client] += count
        self._stop_timer()

    def leave(self, count: int, keep_alive: float | None, client: str = "") -> None:
        """Count requests out; the last one starts the clock of `keep_alive`."""
        self.outstanding -= count
        self._brought[client] -= count
        if not self._brought[client]:
            del self._brought[client]
        if keep_alive is not None:
            self.keep_alive = keep_alive
        self.last_used = self._now()
        self._start_timer()

    def answered(self, seconds: float, timings: Timings) -> None:
        """A request ended well after so many seconds."""
        self._learn(timings)
        self._crashes.answered()
        self.error = None
        self._seconds_per_request += 0.2 * (seconds - self._seconds_per_request)

    # --- its process

    async def worker(self, progress: Callable[[Loading], None] | None = None) -> WorkerHandle:
        """The loaded worker. Whoever asks while it loads waits for the same load, and hears the same error.

        Raises StillLoading for who has waited long enough.
        """
        if self._worker is not None and self._worker.alive:
            return self._worker
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name=f"load {self.name}")
            self._starting.add_done_callback(self._started)
        if progress is not None:
            self._listeners.add(progress)
        starting = self._starting
        try:
            # One of several waiters may go away; the load goes on for the others.
            async with asyncio.timeout(self._settings.load_patience):
                return await asyncio.shield(starting)
        except TimeoutError:
            message = f"{self.name} is still being loaded after {self._settings.load_patience:.0f} s."
            raise errors.StillLoading(message, hint="Try again in 10 s.", retry_after=10) from None
        except asyncio.CancelledError:
            myself = asyncio.current_task()
            if starting.cancelled() and not (myself and myself.cancelling()):
                raise errors.ShuttingDown(f"The load of {self.name} was stopped.") from None
            raise
        finally:
            if progress is not None:
                self._listeners.discard(progress)

    async def unload(self) -> None:
        """End its process, loaded or loading, and return when its memory is free."""
        self._stop_timer()
        self.error = None
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        self._part()
        await self.departed()

    async def departed(self) -> None:
        """Return when no process of it is on its way out, and its memory is free."""
        if self._leaving is not None:
            await asyncio.shield(self._leaving)

    def retire(self) -> None:
        """Leave as soon as no request needs it, for good or until it is asked for again."""
        self.retired = True
        self._start_timer()

    async def kill(self) -> None:
        """End its process without asking."""
        handle = self.handle
        if handle is not None:
            await handle.kill()

    async def _start(self) -> WorkerHandle:
        await self.departed()
        if (seconds := self._crashes.forbidden(self._now())) > 0:
            raise broken(self.name, seconds, self.error)
        await asyncio.sleep(self._crashes.wait(self._now()))
        grant = await self._make_room(self)
        began = self._now()
        for left in range(self._settings.step_downs, -1, -1):
            try:
                worker = await self._load(grant)
                break
            except errors.FiresideError as error:
                lower = await self._lower(grant, error) if left else None
                if lower is None:
                    self.error = error
                    raise
                grant = lower
        self._worker, self.ready_at, self.grant, self.force = worker, self._now(), grant, False
        self._settled = False
        if worker.info is not None:
            self.drift = await asyncio.to_thread(self._planner.loaded, Path(self.key.path), grant, worker.info)
            if self.drift:
                log.warning("%s: %s", self.name, self.drift)
        self._crashes.loaded()
        self.error = None
        self.retired = False
        log.info("loaded %s (pid %d) in %.1f s", self.name, worker.pid, self.ready_at - began)
        return worker

    async def _load(self, grant: Grant) -> WorkerHandle:
        """One try. Raises what the worker says, or how it died."""
        draft = await self.draft() if grant.draft else None
        worker = await WorkerHandle.spawn(self.name, self._settings, self._exited)
        self._loading = worker
        log.info("loading %s (pid %d)", self.name, worker.pid)
        try:
            await worker.load(self.key.path, grant.options, self._tell, str(draft) if draft else None)
        except BaseException as error:
            if isinstance(error, errors.FiresideError):
                log.warning("loading %s failed: %s", self.name, error)
            await worker.kill()
            raise
        finally:
            self._loading = None
        return worker

    async def _lower(self, grant: Grant, error: errors.FiresideError) -> Grant | None:
        """The next smaller way to load it, when it was memory that failed."""
        if not failed_for_memory(error):
            return None
        lower = await asyncio.to_thread(self._planner.lower, Path(self.key.path), grant)
        if lower is not None:
            log.warning("%s: %s", self.name, lower.note)
        return lower

    def _learn(self, timings: Timings) -> None:
        """An answer that had the model to itself, long enough to tell its speed."""
        worker = self._worker
        if worker is not None and worker.info is not None and self.grant is not None and not self._settled:
            self._settled = self.loaded_for() > _SETTLING
            if self._settled:
                taken = memory.rss(worker.pid)
                self._tell_planner(self._planner.settled, self.grant, worker.info, taken)
        if self.grant is None or self.outstanding != 1 or timings.predicted_n < _TELLING or timings.predicted_ms <= 0:
            return
        filled = timings.cache_n + timings.prompt_n + timings.predicted_n // 2
        gain = max(0.1, 1 + timings.draft_ms_won / timings.predicted_ms) if timings.draft_n else 1.0
        seconds = gain / timings.predicted_per_second
        self._tell_planner(self._planner.answered, self.grant, seconds, filled, gain)

    def _tell_planner(self, tell: Callable[..., None], *what: object) -> None:
        learning = asyncio.create_task(asyncio.to_thread(tell, Path(self.key.path), *what))
        self._learning.add(learning)
        learning.add_done_callback(self._learning.discard)

    async def draft(self) -> Path | None:
        """The model that is to draft for it, where one is known or was named."""
        wanted = self.key.options.draft
        if wanted == "auto" and self._find_draft is not None:
            return await asyncio.to_thread(self._find_draft)
        return None if wanted in ("auto", "off") else Path(wanted)

    def _started(self, task: asyncio.Task[WorkerHandle]) -> None:
        self._starting = None
        if not task.cancelled():
            # Waiters have their own copy of the error; without any, asyncio would call it forgotten.
            task.exception()
        self._start_timer()

    def _exited(self, handle: WorkerHandle, error: errors.FiresideError) -> None:
        self._crashes.crashed(self._now(), loading=handle is self._loading)
        self.error = error
        if handle is self._worker:
            self._worker = None
            self._stop_timer()

    def _tell(self, loading: Loading) -> None:
        for listener in tuple(self._listeners):
            listener(loading)

    # --- keep_alive

    def _start_timer(self) -> None:
        self._stop_timer()
        if not self.idle or self._worker is None:
            return
        seconds = 0.0 if self.retired else self.keep_alive
        if seconds != FOREVER:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self._part()

    def _part(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            log.info("unloading %s (pid %d), unused for %.0f s", self.name, worker.pid, self._now() - self.last_used)
            self.keep_alive = self._settings.keep_alive
            self._leaving = asyncio.create_task(worker.stop())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
