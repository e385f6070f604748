"""Server-sent events: `data: {json}` and an empty line. A line with a colon in front says nothing, but shows life."""

from __future__ import annotations

import asyncio

from starlette.types import Send

from fireside_engine.server.disconnect import ClientGone
from fireside_engine.server.responses import dumps

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx would collect the events otherwise.
    (b"x-accel-buffering", b"no"),
]


def event(value: object, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dumps(value) + b"\n\n"


class EventStream:
    """The connection, seen as a stream of events. Raises ClientGone when the client stops reading for too long."""

    def __init__(self, send: Send, timeout: float, headers: list[tuple[bytes, bytes]] = HEADERS) -> None:
        self._send = send
        self._headers = headers
        self._timeout = timeout
        self.open = False

    async def start(self) -> None:
        self.open = True
        await self._pass({"type": "http.response.start", "status": 200, "headers": self._headers})

    async def write(self, data: bytes) -> None:
        if data:
            await self._pass({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._pass({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass(self, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None
