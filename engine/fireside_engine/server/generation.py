"""One call of a client on its way through a model: load if need be, submit, hand out events, and clean up.

`n` answers to one prompt are one generation of several requests, whose events come mixed. Leaving the context at any
point, by the end of the answer, an error, or the cancellation of the task because the client is gone, cancels what
still runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from fireside_engine import errors
from fireside_engine.core.events import Event, Failed, Finished
from fireside_engine.core.request import Request
from fireside_engine.server.inbox import Inbox, Item
from fireside_engine.server.resident import Resident
from fireside_engine.server.settings import Settings
from fireside_engine.server.worker_handle import WorkerHandle
from fireside_engine.worker.protocol import ModelInfo

log = logging.getLogger(__name__)


class Answering(Protocol):
    """What hands out the events of one call: a generation of one model, or of several that answer as one."""

    load_ms: float
    info: ModelInfo | None

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def get(self) -> Item: ...
    def take(self) -> Item | None: ...
    def cancel(self, request_id: str) -> None: ...
    def abort(self, error: errors.FiresideError) -> None: ...


class Generation:
    """An async context manager; inside, `get` and `take` hand out what happens."""

    def __init__(
        self,
        resident: Resident,
        requests: Sequence[Request],
        client: str,
        *,
        keep_alive: float | None,
        settings: Settings,
        live: set[Answering],
    ) -> None:
        self.resident = resident
        self.load_ms = 0.0
        """How long the call waited for the model to load."""
        self.info: ModelInfo | None = None
        self._requests = requests
        self._open = {request.id for request in requests}
        self._keep_alive = keep_alive
        self._live = live
        self._client = client
        self._inbox = Inbox(settings.buffer_limit, self._cancel, settings.hold_limit, self._hold)
        self._worker: WorkerHandle | None = None
        self._submitting: asyncio.Task[None] | None = None
        self._began = 0.0

    async def __aenter__(self) -> Self:
        """Raises Overloaded when too many wait already."""
        self.resident.enter(len(self._requests), self._client)
        self._live.add(self)
        self._began = asyncio.get_running_loop().time()
        self._submitting = asyncio.create_task(self._submit())
        self._submitting.add_done_callback(self._submitted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._submitting is not None:
            self._submitting.cancel()
        self._cancel()
        self.resident.leave(len(self._requests), self._keep_alive, self._client)
        self._live.discard(self)

    async def get(self) -> Item:
        """The next thing that happens."""
        return await self._inbox.get()

    def take(self) -> Item | None:
        """The next thing, if it happened already."""
        return self._inbox.take()

    def cancel(self, request_id: str) -> None:
        """End one of its requests; no event of it comes any more."""
        if self._worker is not None and request_id in self._open:
            self._open.discard(request_id)
            self._worker.cancel(request_id)

    def abort(self, error: errors.FiresideError) -> None:
        """End it from the side of the engine: its client gets `error`."""
        self._inbox.close(Failed("", error.to_dict()))
        if self._submitting is not None:
            self._submitting.cancel()
        self._cancel()

    async def _submit(self) -> None:
        ready = self.resident.state == "ready"
        worker = await self.resident.worker(self._inbox.put)
        if not ready:
            self.load_ms = (asyncio.get_running_loop().time() - self._began) * 1e3
        self.info = worker.info
        self._worker = worker
        for request in self._requests:
            worker.submit(request, self._deliver)

    def _submitted(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, errors.FiresideError):
            log.error("a request could not be submitted", exc_info=error)
            error = errors.InternalError("The engine failed to hand the request to its model.")
        self._inbox.close(Failed("", error.to_dict()))

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Finished | Failed):
            self._open.discard(event.request_id)
        if isinstance(event, Finished):
            self.resident.answered(asyncio.get_running_loop().time() - self._began, event.timings)
        self._inbox.put(event)

    def _hold(self, held: bool) -> None:
        """The client does not keep up, or does again."""
        if self._worker is not None:
            for request_id in self._open:
                self._worker.hold(request_id, held=held)

    def _cancel(self) -> None:
        if self._worker is not None:
            for request_id in self._open:
                self._worker.cancel(request_id)
        self._open.clear()
