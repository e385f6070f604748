"""From the first accepted connection to the last: announcing the engine, noticing that nobody needs it, leaving.

Leaving: stop listening and take the record away first, so that nobody new comes; let what runs end, for as long as is
patient; end the rest with an error event; then the workers. A request that slips in through a connection that was open
when an idle engine decided to leave is still answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import signal
import socket
import sys
from collections.abc import Generator

import uvicorn

from fireside_engine import __version__, address
from fireside_engine.server.app import create_app
from fireside_engine.server.connection import limited
from fireside_engine.server.engine import Engine
from fireside_engine.server.security import Access

log = logging.getLogger(__name__)

_MOST_GUESTS = 100
_LAST_WORDS = 0.1
"""From accepting the last connection to the request that it was made for, of a client on this machine."""


class EngineServer(uvicorn.Server):
    """uvicorn, with our idea of when to stop."""

    def __init__(self, engine: Engine, access: Access, sockets: list[socket.socket]) -> None:
        self.engine = engine
        self._access = access
        self._sockets = sockets
        self.announced = False
        """It listens, and clients can find it."""
        self._idle_watch: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                create_app(engine, access, self.ask_to_stop),
                http=limited(engine.settings),
                h11_max_incomplete_event_size=engine.settings.head_limit,
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("server", "fireside")],
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )

    async def run_engine(self) -> None:
        """Serve until asked to stop, or idle for long enough."""
        try:
            await self.serve(self._sockets)
        finally:
            # However it ends, no process of a model stays behind.
            self.engine.shadows.close()
            await self.engine.supervisor.close(now=self._hurry.is_set())
            await asyncio.to_thread(self.engine.router.trace.close)
            _remove_record()
            log.info("the engine left")

    def ask_to_stop(self) -> None:
        """Once: end in order. Twice: end now."""
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()
        self.should_exit = True

    # --- uvicorn's steps

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are `handle_signals`; uvicorn's own would raise them again after a clean end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self._access.port
        address.write_record(
            address.EngineRecord(
                pid=_pid(),
                host=_reachable(self._access.host),
                port=port,
                version=__version__,
                protocol=address.PROTOCOL,
            )
        )
        log.info("fireside %s listens on %s:%d", __version__, self._access.host, port)
        self._idle_watch = asyncio.create_task(self._leave_when_idle())
        self.announced = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._idle_watch is not None:
            self._idle_watch.cancel()
        _remove_record()
        idle = not self._asked.is_set()
        # An idle engine has nothing to hurry for, so who knocks at the last moment is let in and answered.
        for _ in range(_MOST_GUESTS if idle else 0):
            if not self._somebody_knocks():
                break
            await asyncio.sleep(0)
        await self._stop_listening()
        if idle:
            await asyncio.sleep(_LAST_WORDS)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drain()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # Its client takes nothing from it, so it would never be flushed.
            connection.transport.abort()

    async def _stop_listening(self) -> None:
        if sys.platform != "win32":
            # asyncio forgets, open and unread, a connection that it accepted in the very step in which it is closed.
            for made in self._sockets:
                asyncio.get_running_loop().remove_reader(made)
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()

    async def _drain(self) -> None:
        activity = self.engine.activity
        quiet = asyncio.create_task(activity.quiet())
        hurry = asyncio.create_task(self._hurry.wait())
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait({quiet, asked}, return_when=asyncio.FIRST_COMPLETED)
        self.engine.stopping = True
        await asyncio.wait({quiet, hurry}, timeout=self.engine.settings.drain, return_when=asyncio.FIRST_COMPLETED)
        if not quiet.done():
            log.warning("%d requests are cut off", activity.in_flight)
            self.engine.abort_all()
            await asyncio.wait({quiet}, timeout=1.0)
        for task in (quiet, asked, hurry):
            task.cancel()

    # --- idleness

    async def _leave_when_idle(self) -> None:
        limit = self.engine.settings.idle_exit
        if limit <= 0:
            return
        while True:
            idle = 0.0 if self.engine.supervisor.loading else self.engine.activity.idle_for()
            if idle >= limit:
                log.info("nobody needed the engine for %.0f s", idle)
                self.should_exit = True
                return
            await asyncio.sleep(max(0.05, limit - idle))

    def _somebody_knocks(self) -> bool:
        """Is a connection waiting to be accepted? Closing the socket would reset it."""
        listening = [made for made in self._sockets if made.fileno() >= 0]
        return bool(listening) and bool(select.select(listening, [], [], 0)[0])


def handle_signals(server: EngineServer) -> None:
    """SIGTERM, Ctrl-C and a closed terminal ask the engine to stop; a second one makes it stop now."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        for number in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(server.ask_to_stop))
    else:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, server.ask_to_stop)


def _pid() -> int:
    import os

    return os.getpid()


def _reachable(host: str) -> str:
    """Where a client on this machine finds an engine that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(host, host)  # noqa: S104


def _remove_record() -> None:
    """Take away our own record; another engine may have written its own by now."""
    record = address.read_record()
    if record is not None and record.pid == _pid():
        address.record_path().unlink(missing_ok=True)
