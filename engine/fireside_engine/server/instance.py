"""One engine per home: the lock that is held for life, and the sockets it listens on."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO

from fireside_engine import address
from fireside_engine.hardware import memory

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ATTEMPTS = 4
_FAR = 1 << 20
"""Windows locks bytes and forbids reading them; this one is behind everything written."""


class PortTaken(Exception):
    """Says which port, who has it, and what to do."""


class Lock:
    """Held until `release` or the death of the process, so a crash leaves nothing stale."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take it, and write our pid into it; False when another process has it."""
        file = self._path.open("a+b")
        try:
            _lock(file)
        except OSError as error:
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
            raise
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()).encode())
        file.flush()
        self._file = file
        return True

    def holder(self) -> int | None:
        """Pid of the process that took it last."""
        try:
            return int(self._path.read_bytes())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def acquire(lock: Lock, wait: float) -> address.EngineRecord | None:
    """Take the lock, or return the record of the engine that has it.

    An engine that holds the lock but has no record is starting or leaving; that is waited for. Raises TimeoutError.
    """
    deadline = time.monotonic() + wait
    attempts = 0
    while not lock.acquire():
        attempts += 1
        record = address.read_record()
        # A client that only looks whether the lock is free holds it for a moment, beside the record of a dead engine.
        if attempts >= _ATTEMPTS and record is not None and record.pid == lock.holder():
            return record
        if time.monotonic() > deadline:
            raise TimeoutError(f"Another engine (pid {lock.holder()}) holds {address.lock_path()} and does not listen.")
        time.sleep(0.05)
    # Whoever wrote a record before is dead, or we would not have the lock.
    address.record_path().unlink(missing_ok=True)
    return None


def listen(host: str, port: int, *, or_any: bool = False) -> list[socket.socket]:
    """Listening sockets, all on one port; 0 is any free port. Raises PortTaken, or OSError for a host that is not ours.

    With `or_any`, a port that is taken is replaced by a free one.
    """
    try:
        return _listen(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if or_any:
            return _listen(host, 0)
    owner = memory.port_owner(port)
    raise PortTaken(
        f"Port {port} is taken by {owner or 'another program'}. "
        "Stop it, or choose another port with `--port N` (`--port 0` takes any free one)."
    )


def _listen(host: str, port: int) -> list[socket.socket]:
    first = _bind("127.0.0.1" if host == "localhost" else host, port)
    sockets = [first]
    if host in ("127.0.0.1", "localhost"):
        # `localhost` is ::1 first for many clients.
        try:
            sockets.append(_bind("::1", first.getsockname()[1]))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                first.close()
                raise
    return sockets


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
        # Only a listening socket keeps others from the port.
        made.listen(128)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
