"""Two clients of the engine with one face: blocking for the command line, asyncio for the terminal app.

Standard library only, because the import of any HTTP library would cost more than the whole command. Each call is a
connection of its own: ending it is how a request is cancelled, so closing the iterator of `chat` stops the engine.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from fireside.wire import Endpoint, EngineFailure, Exchange, JsonObject

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncEngineClient", "Endpoint", "EngineClient", "EngineFailure", "JsonObject"]

CHAT = "/v1/chat/completions"
CONNECT_TIMEOUT = 5.0
"""Seconds. The engine is on this machine: a connection that is not there by then will not come."""
_READ_SIZE = 64 * 1024


class EngineClient:
    """Blocking; for the command line."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def chat(self, body: JsonObject) -> Generator[JsonObject, None, None]:
        """The parsed chunks of a stream, or the one object of a plain answer, as `body["stream"]` asks.

        Raises EngineFailure. Closing the iterator closes the connection, which cancels the request.
        """
        return self._exchange("POST", CHAT, body, None)

    def get(self, path: str, *, timeout: float | None = None) -> JsonObject:
        """Raises EngineFailure; `timeout` limits each wait for the engine, in seconds."""
        return _only(self._exchange("GET", path, None, timeout))

    def post(self, path: str, body: JsonObject | None = None, *, timeout: float | None = None) -> JsonObject:
        """Raises EngineFailure; `timeout` limits each wait for the engine, in seconds."""
        return _only(self._exchange("POST", path, body or {}, timeout))

    def delete(self, path: str, *, timeout: float | None = None) -> JsonObject:
        """Raises EngineFailure; `timeout` limits each wait for the engine, in seconds."""
        return _only(self._exchange("DELETE", path, None, timeout))

    def call(
        self, method: str, path: str, body: JsonObject | None = None, *, timeout: float | None = None
    ) -> JsonObject:
        """For other methods of HTTP. Raises EngineFailure; `timeout` limits each wait for the engine, in seconds."""
        return _only(self._exchange(method, path, body, timeout))

    def stream(self, path: str, body: JsonObject) -> Generator[JsonObject, None, None]:
        """The parsed events of a long work, as `chat` gives those of an answer; closing the iterator ends the work."""
        return self._exchange("POST", path, body, None)

    def _exchange(
        self, method: str, path: str, body: JsonObject | None, timeout: float | None
    ) -> Generator[JsonObject, None, None]:
        exchange = Exchange(self.endpoint, method, path, body)
        try:
            connection = socket.create_connection(self.endpoint[:2], timeout=CONNECT_TIMEOUT)
        except OSError as cause:
            raise EngineFailure.unreachable(self.endpoint, cause) from cause
        with connection:
            connection.settimeout(timeout)
            # An engine that refuses a body answers before it has read it; what it says is in the answer.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(exchange.request)
            while not exchange.done:
                try:
                    data = connection.recv(_READ_SIZE)
                except TimeoutError as cause:
                    raise EngineFailure.unreachable(self.endpoint, cause) from cause
                except OSError as cause:
                    raise EngineFailure.gone() from cause
                yield from exchange.feed(data)


class AsyncEngineClient:
    """For programs that live in an event loop. The same calls as EngineClient."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def chat(self, body: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Like `EngineClient.chat`; iterate with `async for`, and `aclose` it to cancel the request."""
        return self._exchange("POST", CHAT, body)

    async def get(self, path: str, *, timeout: float | None = None) -> JsonObject:  # noqa: ASYNC109
        """Raises EngineFailure; `timeout` limits the whole call, in seconds."""
        return await self._call("GET", path, None, timeout)

    async def post(
        self,
        path: str,
        body: JsonObject | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> JsonObject:
        """Raises EngineFailure; `timeout` limits the whole call, in seconds."""
        return await self._call("POST", path, body or {}, timeout)

    async def _call(self, method: str, path: str, body: JsonObject | None, limit: float | None) -> JsonObject:
        import asyncio

        try:
            async with asyncio.timeout(limit), contextlib.aclosing(self._exchange(method, path, body)) as answers:
                async for answer in answers:
                    return answer
        except TimeoutError as cause:
            raise EngineFailure.unreachable(self.endpoint, cause) from cause
        raise EngineFailure.gone()

    async def _exchange(self, method: str, path: str, body: JsonObject | None) -> AsyncGenerator[JsonObject, None]:
        exchange = Exchange(self.endpoint, method, path, body)
        reader, writer = await self._connect()
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                writer.write(exchange.request)
                await writer.drain()
            while not exchange.done:
                try:
                    data = await reader.read(_READ_SIZE)
                except OSError as cause:
                    raise EngineFailure.gone() from cause
                for item in exchange.feed(data):
                    yield item
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        import asyncio

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await asyncio.open_connection(self.endpoint.host, self.endpoint.port)
        except OSError as cause:
            raise EngineFailure.unreachable(self.endpoint, cause) from cause


def _only(answers: Generator[JsonObject, None, None]) -> JsonObject:
    with contextlib.closing(answers):
        for answer in answers:
            return answer
    raise EngineFailure.gone()
