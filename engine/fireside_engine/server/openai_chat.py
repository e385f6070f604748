"""`POST /v1/chat/completions`: OpenAI's dialect, whole and streamed.

A stream's headers wait, for a moment, for the worker to accept the prompt, so that a prompt that does not fit is a real
400; when that takes longer, the headers leave and an error becomes the stream's last event.
"""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Finished, FinishReason, Progress
from fireside_engine.server import sse
from fireside_engine.server.disconnect import ClientGone, while_connected
from fireside_engine.server.engine import Engine
from fireside_engine.server.generation import Generation
from fireside_engine.server.inbox import Item
from fireside_engine.server.meter import Meter
from fireside_engine.server.naming import Route
from fireside_engine.server.openai_answer import Answer, timings_body
from fireside_engine.server.openai_request import ChatCall, chat_call
from fireside_engine.server.responses import error_body, json_response
from fireside_engine.server.tenants import OWNER, tenant_in
from fireside_engine.worker.protocol import Loading

log = logging.getLogger(__name__)

_LARGE = 256 * 1024
"""A body above this is parsed in a thread: other streams must not wait for it."""


class ChatCompletions:
    """The endpoint is `respond`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def respond(self, request: Request) -> ASGIApp:
        body = await request.body()
        call = await asyncio.to_thread(chat_call, body) if len(body) > _LARGE else chat_call(body)
        route = await self._engine.names.find(call.model)
        return _Exchange(self._engine, call, route)


class _Exchange:
    """One call and its answer; an ASGI application, because it must hear of the client's departure."""

    def __init__(self, engine: Engine, call: ChatCall, route: Route) -> None:
        self._engine = engine
        self._call = call
        self._route = route
        self._answer = Answer(call, route.entry.name, route.reason)
        self._meter = Meter()
        self._began = time.monotonic()
        self._outcome = "done"
        self._tenant = OWNER

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._tenant = tenant_in(scope)
        try:
            if self._call.stream:
                await while_connected(receive, self._stream(send))
            else:
                whole = await while_connected(receive, self._collect())
                await json_response(whole)(scope, receive, send)
        except ClientGone:
            self._outcome = "client gone"
        except errors.FiresideError as error:
            self._outcome = error.code
            raise
        finally:
            took = time.monotonic() - self._began
            name = self._route.entry.name
            log.info("%s %s: %s after %.2f s, %s", self._call.id, name, self._outcome, took, self._meter)

    def _generate(self) -> Generation:
        return self._engine.generate(
            self._route.entry,
            self._call.requests,
            tenant=self._tenant,
            deterministic=self._call.deterministic,
            keep_alive=self._call.keep_alive,
        )

    # --- whole

    async def _collect(self) -> dict[str, object]:
        async with self._generate() as generation:
            while not self._answer.complete:
                match self._heed(generation, await generation.get()):
                    case Delta() as delta:
                        self._answer.add(delta)
        return self._answer.whole()

    # --- streamed

    async def _stream(self, send: Send) -> None:
        settings = self._engine.settings
        stream = sse.EventStream(send, settings.send_timeout)
        try:
            async with self._generate() as generation:
                waiting = await self._first(generation)
                await stream.start()
                await stream.write(b"".join(map(sse.event, self._answer.role_chunks())))
                while True:
                    await self._write(stream, generation, waiting)
                    if self._answer.complete:
                        break
                    waiting = await self._more(generation, settings.ping)
                    if not waiting:
                        await stream.write(sse.PING)
            last = sse.event(self._answer.usage_chunk()) if self._call.include_usage else b""
            await stream.write(last + sse.DONE)
        except errors.FiresideError as error:
            if not stream.open:
                raise
            self._outcome = error.code
            await stream.write(sse.event(error_body(error)))
        await stream.end()

    async def _write(self, stream: sse.EventStream, generation: Generation, items: list[Item]) -> None:
        """What came while the client was busy leaves in one write. Raises the error among it, after what came first."""
        rendered = bytearray()
        try:
            for item in items:
                rendered += self._render(generation, item)
        finally:
            await stream.write(bytes(rendered))

    async def _first(self, generation: Generation) -> list[Item]:
        """What the worker says first, or nothing when that takes its time. Raises what went wrong."""
        try:
            async with asyncio.timeout(self._engine.settings.header_wait):
                while True:
                    item = await generation.get()
                    if not isinstance(item, Loading) or self._call.return_progress:
                        if isinstance(item, Failed):
                            raise errors.FiresideError.from_dict(item.error)
                        return [item]
        except TimeoutError:
            return []

    @staticmethod
    async def _more(generation: Generation, wait: float) -> list[Item]:
        """Everything that happened by the time something has, or nothing."""
        try:
            async with asyncio.timeout(wait):
                items = [await generation.get()]
        except TimeoutError:
            return []
        while (item := generation.take()) is not None:
            items.append(item)
        return items

    def _render(self, generation: Generation, item: Item) -> bytes:
        match self._heed(generation, item):
            case Delta(text=text, logprobs=logprobs) as delta if text or logprobs:
                chunk = self._answer.delta_chunk(delta)
                if self._call.timings_per_token:
                    chunk["timings"] = timings_body(self._meter.timings(delta.request_id))
            case Finished() as finished:
                chunk = self._answer.finish_chunk(finished)
            case Progress() as progress if self._call.return_progress:
                chunk = self._answer.progress_chunk(progress)
            case Loading() as loading if self._call.return_progress:
                chunk = self._answer.loading_chunk(loading)
            case _:
                return b""
        return sse.event(chunk)

    # --- both

    def _heed(self, generation: Generation, item: Item) -> Item:
        """Keep account of what happens. Raises when it is the end."""
        self._meter.see(item)
        match item:
            case Failed(error=error):
                raise errors.FiresideError.from_dict(error)
            case Finished(reason=FinishReason.CANCELLED):
                raise errors.InternalError("The request was cancelled inside the engine.")
            case Finished() as finished:
                self._answer.choice(finished.request_id).finished = finished
                self._answer.load_ms = generation.load_ms
                self._answer.deterministic = bool(generation.info and generation.info.deterministic)
        return item
