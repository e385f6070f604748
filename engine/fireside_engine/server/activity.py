"""Is anybody using the engine? Counts what is in flight and remembers when the last work ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

PASSIVE = frozenset({"/", "/health", "/slots", "/metrics", "/fireside/status"})
"""Editors probe these for as long as they are open; a probe is no reason to stay."""


class Activity:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = asyncio.Event()
        self.in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1
        self._idle.clear()
        self._busy.set()

    def end(self, *, counts: bool = True) -> None:
        self.in_flight -= 1
        if counts:
            self._last = self._clock()
        if self.in_flight == 0:
            self._idle.set()
            self._busy.clear()

    def idle_for(self) -> float:
        """Seconds since the last work ended; 0 while there is some."""
        return 0.0 if self.in_flight else self._clock() - self._last

    async def busy(self) -> None:
        """Return as soon as something is in flight."""
        await self._busy.wait()

    async def quiet(self) -> None:
        """Return as soon as nothing is in flight."""
        await self._idle.wait()


class CountRequests:
    """ASGI layer: a request is in flight until the last byte of its answer left."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app = app
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._activity.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.end(counts=scope.get("path") not in PASSIVE)
