"""One call and its answer over HTTP, whole and streamed, in any dialect.

A stream's headers wait, for a moment, for the worker to accept the prompt, so that a prompt that does not fit is a real
400; when that takes longer, the headers leave and an error becomes the stream's last words.
"""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.types import Receive, Scope, Send

from fireside_engine import errors
from fireside_engine.core.answers.parts import Part
from fireside_engine.core.events import Failed, Finished, FinishReason
from fireside_engine.server import sse
from fireside_engine.server.call import Call, Voice
from fireside_engine.server.disconnect import ClientGone, while_connected
from fireside_engine.server.early_end import EarlyEnd
from fireside_engine.server.engine import Engine
from fireside_engine.server.fill_models import explained
from fireside_engine.server.generation import Answering
from fireside_engine.server.inbox import Item
from fireside_engine.server.meter import Meter
from fireside_engine.server.naming import Route
from fireside_engine.server.quarantine import shape_of
from fireside_engine.server.responses import json_response
from fireside_engine.server.tenants import OWNER, client_in, tenant_in
from fireside_engine.worker.protocol import Loading

log = logging.getLogger(__name__)


class Exchange:
    """An ASGI application, because it must hear of the client's departure."""

    def __init__(
        self,
        engine: Engine,
        call: Call,
        route: Route,
        voice: Voice,
        meter: Meter | None = None,
        early: EarlyEnd | None = None,
    ) -> None:
        self._engine = engine
        self._call = call
        self._route = route
        self._voice = voice
        self._meter = meter or Meter()
        self._early = early
        self._began = time.monotonic()
        self._outcome = "done"
        self._tenant = OWNER
        self._client = ""
        self._was_loaded = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._tenant, self._client = tenant_in(scope), client_in(scope)
        try:
            if self._call.stream:
                await while_connected(receive, self._stream(send))
            else:
                whole = await while_connected(receive, self.collect())
                await json_response(whole)(scope, receive, send)
        except ClientGone:
            self._outcome = "client gone"
        except errors.FiresideError as error:
            self._outcome = error.code
            self._suspect(error)
            if isinstance(error, errors.NotSupported) and error.details.get("feature") == "fill":
                raise await explained(self._engine, error, self._route.entry.name) from None
            raise
        finally:
            transcript = self._voice.transcript
            self._engine.totals.add(transcript.ends)
            self._engine.router.answered(self._call, self._route, transcript.ends, transcript.load_ms)
            took = time.monotonic() - self._began
            name = self._route.entry.name
            log.info("%s %s: %s after %.2f s, %s", self._call.id, name, self._outcome, took, self._meter)

    def _generate(self) -> Answering:
        return self._engine.answer(self._route, self._call, self._tenant, self._client)

    def _suspect(self, error: errors.FiresideError) -> None:
        """A process died that answered this: was it because of it?"""
        if self._was_loaded and isinstance(error, errors.WorkerCrashed | errors.WorkerHung):
            for request in self._call.requests:
                self._engine.quarantine.died(shape_of(request), time.monotonic())

    # --- whole

    async def collect(self) -> object:
        async with self._generate() as generation:
            while not self._voice.transcript.complete:
                for item in self._passed(generation, await generation.get()):
                    self._heed(generation, item)
        return self._voice.whole()

    # --- streamed

    async def _stream(self, send: Send) -> None:
        settings = self._engine.settings
        stream = sse.EventStream(send, settings.send_timeout, self._voice.headers)
        try:
            async with self._generate() as generation:
                waiting = await self._first(generation)
                await stream.start()
                await stream.write(self._voice.begin())
                while True:
                    await self._write(stream, generation, waiting)
                    if self._voice.transcript.complete:
                        break
                    waiting = await self._more(generation, settings.ping)
                    if not waiting:
                        await stream.write(self._voice.ping)
            await stream.write(self._voice.end())
        except errors.FiresideError as error:
            if not stream.open:
                raise
            self._outcome = error.code
            self._suspect(error)
            await stream.write(self._voice.fail(error))
        await stream.end()

    async def _write(self, stream: sse.EventStream, generation: Answering, items: list[Item]) -> None:
        """What came while the client was busy leaves in one write. Raises the error among it, after what came first."""
        rendered = bytearray()
        try:
            for item in items:
                for each in self._passed(generation, item):
                    rendered += self._voice.say(each, self._heed(generation, each))
        finally:
            await stream.write(bytes(rendered))

    async def _first(self, generation: Answering) -> list[Item]:
        """What the worker says first, or nothing when that takes its time. Raises what went wrong."""
        try:
            async with asyncio.timeout(self._engine.settings.header_wait):
                while True:
                    item = await generation.get()
                    if not isinstance(item, Loading) or self._call.return_progress:
                        if isinstance(item, Failed):
                            self._was_loaded = generation.info is not None
                            raise errors.FiresideError.from_dict(item.error)
                        return [item]
        except TimeoutError:
            return []

    @staticmethod
    async def _more(generation: Answering, wait: float) -> list[Item]:
        """Everything that happened by the time something has, or nothing."""
        try:
            async with asyncio.timeout(wait):
                items = [await generation.get()]
        except TimeoutError:
            return []
        while (item := generation.take()) is not None:
            items.append(item)
        return items

    # --- both

    def _passed(self, generation: Answering, item: Item) -> list[Item]:
        return [item] if self._early is None else self._early.passed(item, generation.cancel)

    def _heed(self, generation: Answering, item: Item) -> list[Part]:
        """Keep account of what happens. Raises when it is the end."""
        self._meter.see(item)
        self._was_loaded = generation.info is not None
        transcript = self._voice.transcript
        match item:
            case Failed(error=error):
                raise errors.FiresideError.from_dict(error)
            case Finished(reason=FinishReason.CANCELLED):
                raise errors.InternalError("The request was cancelled inside the engine.")
        transcript.load_ms = generation.load_ms
        if (info := generation.info) is not None:
            transcript.deterministic = info.deterministic
            transcript.speculation = info.speculation
            transcript.speaks(info.chat_format)
        return transcript.heed(item)
