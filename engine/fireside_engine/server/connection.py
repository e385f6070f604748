"""Connections with an end: who sends too slowly, takes nothing, or does nothing while others knock is let go.

uvicorn limits the size of headers and closes connections that are quiet after an answer. It waits without end for a
first request, for the rest of headers, and for a client that does not read; and it turns new connections away rather
than old ones that do nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fireside_engine.server.settings import Settings

log = logging.getLogger(__name__)

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def limited(settings: Settings) -> type[H11Protocol]:
    """The protocol with these limits; uvicorn wants a class."""

    class Limited(LimitedProtocol):
        limits = settings

    return Limited


class LimitedProtocol(H11Protocol):
    """One connection."""

    limits: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None
        """Runs while the headers of a request are due."""
        self._reader: asyncio.TimerHandle | None = None
        """Runs while the client takes nothing."""
        self._quiet_since = self.loop.time()

    @property
    def quiet_since(self) -> float | None:
        """When the last answer ended; None while there is a request."""
        return self._quiet_since if self.cycle is None or self.cycle.response_complete else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        full = len(self.connections) >= self.limits.max_connections and not self._let_one_go()
        super().connection_made(transport)
        if full:
            log.warning("%d connections are open: one more is turned away", len(self.connections) - 1)
            self._close(_FULL)
            return
        made = transport.get_extra_info("socket")
        if made is not None:
            # The system's own buffer for what nobody reads grows to megabytes.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.send_buffer)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_head()
        self._reads()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader is None:
            self._reader = self.loop.call_later(self.limits.send_timeout, self._stuck)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reads()

    def _watch(self) -> None:
        """A request that has begun has to go on."""
        waiting = self.conn.their_state is h11.IDLE
        if waiting and self._head is None and self.conn.trailing_data[0]:
            self._expect_head()
        elif not waiting:
            self._no_head()

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(self.limits.head_timeout, self._late)

    def _no_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late(self) -> None:
        self._head = None
        self._close(_TOO_SLOW if self.conn.trailing_data[0] else b"")

    def _reads(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _stuck(self) -> None:
        self._reader = None
        log.info("a client took nothing for %.0f s and is cut off", self.limits.send_timeout)
        # What waits for it would never be flushed.
        self.transport.abort()

    def _close(self, words: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(words)
            self.transport.close()

    def _let_one_go(self) -> bool:
        """Close the connection that has done nothing for longest."""
        quiet = [each for each in self.connections if isinstance(each, LimitedProtocol)]
        idle = [each for each in quiet if each.quiet_since is not None and not each.transport.is_closing()]
        if not idle:
            return False
        min(idle, key=lambda each: each.quiet_since or 0.0).transport.abort()
        return True
