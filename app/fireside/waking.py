"""Asks systemd for the engine, where `fireside service` set up a socket: one of our own would take its home."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

_WAIT = 1.0


def unit_path() -> Path:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user" / "fireside.socket"


def wake() -> bool:
    """Whether somebody listened on the socket of the service; its first connection starts the engine."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        unit = unit_path().read_text(encoding="utf-8")
        port = re.search(r"^ListenStream=127\.0\.0\.1:(\d+)$", unit, re.MULTILINE)
        if port is None:
            return False
        with socket.create_connection(("127.0.0.1", int(port.group(1))), timeout=_WAIT):
            return True
    except OSError:
        # It is not installed, or not switched on.
        return False
