"""Sockets that systemd listens on for the engine (socket activation, sd_listen_fds(3))."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import MutableMapping

FIRST = 3
"""The descriptor of the first one."""
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited(environment: MutableMapping[str, str], first: int = FIRST) -> list[socket.socket]:
    """Those that were handed to this process; none where it was started in another way.

    The variables are taken out, so that no worker believes them. Raises OSError for sockets that others than this
    machine reach, or that do not listen.
    """
    pid, count, _ = (environment.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for number in range(first, first + int(count)):
        os.set_inheritable(number, False)
        made = socket.socket(fileno=number)
        made.setblocking(False)
        sockets.append(made)
    try:
        for made in sockets:
            _check(made)
    except OSError:
        for made in sockets:
            made.close()
        raise
    return sockets


def _check(made: socket.socket) -> None:
    if made.family not in (socket.AF_INET, socket.AF_INET6):
        raise OSError("a socket of the service is none of the internet's")
    if not ipaddress.ip_address(made.getsockname()[0]).is_loopback:
        raise OSError(f"a socket of the service listens on {made.getsockname()[0]}, not on this machine alone")
    if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError("a socket of the service does not listen")
