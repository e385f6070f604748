"""`python -m fireside_engine.server`: the engine of this user, in the foreground.

Exit status: 0 asked to leave or idle, 2 wrong usage or port taken, 3 another engine runs for this home.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fireside_engine import __version__, address
from fireside_engine.errors import FiresideError
from fireside_engine.models.catalogue import default_catalogue
from fireside_engine.server import logs
from fireside_engine.server.engine import Engine
from fireside_engine.server.inherited import inherited
from fireside_engine.server.instance import LOOPBACK, Lock, PortTaken, acquire, listen
from fireside_engine.server.lifecycle import EngineServer, handle_signals
from fireside_engine.server.security import Access
from fireside_engine.server.settings import Settings
from fireside_engine.server.tenants import ApiKey, read_keys

OK, USAGE, OTHER_ENGINE = 0, 2, 3
KEY_VARIABLE = "FIRESIDE_API_KEY"
_PATIENCE = 15.0
"""How long an engine that is just starting or leaving is waited for."""


def main(argv: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """`settings` replaces the product's numbers, for tests."""
    arguments = _arguments(argv)
    settings = settings or Settings()
    if arguments.idle_exit is not None:
        settings = replace(settings, idle_exit=arguments.idle_exit)
    if arguments.deterministic:
        settings = replace(settings, deterministic=True)
    if arguments.draft:
        settings = replace(settings, draft=arguments.draft)
    try:
        keys = _keys(arguments.api_key_file)
    except (OSError, ValueError) as error:
        return _say(f"The API keys cannot be read: {error}.", USAGE)
    if arguments.host not in LOOPBACK and not keys:
        return _say(f"Listening on {arguments.host} would open the engine to others: set {KEY_VARIABLE} first.", USAGE)
    try:
        address.make_private(address.runtime_dir())
    except PermissionError as error:
        return _say(str(error), USAGE)
    lock = Lock(address.lock_path())
    try:
        other = acquire(lock, _PATIENCE)
    except TimeoutError as error:
        return _say(str(error), OTHER_ENGINE)
    if other is not None:
        return _say(_running(other), OTHER_ENGINE)
    try:
        sockets = _sockets(arguments)
        return _serve(arguments, settings, keys, sockets)
    except (PortTaken, FiresideError) as error:
        return _say(str(error), USAGE)
    except OSError as error:
        return _say(f"The engine cannot listen on {arguments.host}: {error.strerror or error}.", USAGE)
    finally:
        lock.release()


def _serve(
    arguments: argparse.Namespace, settings: Settings, keys: tuple[ApiKey, ...], sockets: list[socket.socket]
) -> int:
    handler = logs.set_up(address.log_dir(), arguments.log_level)
    access = Access(sockets[0].getsockname()[1], address.ensure_token(), arguments.host, keys)
    try:
        asyncio.run(_run(settings, access, sockets))
    finally:
        logs.tear_down(handler)
        for made in sockets:
            made.close()
    return OK


async def _run(settings: Settings, access: Access, sockets: list[socket.socket]) -> None:
    server = EngineServer(Engine(default_catalogue(), settings), access, sockets)
    handle_signals(server)
    where = f"[{access.host}]" if ":" in access.host else access.host
    print(f"fireside {__version__} listens on http://{where}:{access.port}", file=sys.stderr, flush=True)
    await server.run_engine()


def _keys(file: Path | None) -> tuple[ApiKey, ...]:
    """Those of the variable and of the file. Raises OSError, ValueError."""
    text = os.environ.get(KEY_VARIABLE, "")
    if file is not None:
        text += "\n" + file.read_text(encoding="utf-8")
    return read_keys(text)


def _sockets(arguments: argparse.Namespace) -> list[socket.socket]:
    if given := inherited(os.environ):
        return given
    if arguments.port == "auto":
        return listen(arguments.host, address.DEFAULT_PORT, or_any=True)
    return listen(arguments.host, arguments.port)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fireside_engine.server", description="The engine of fireside.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=_port,
        default=address.DEFAULT_PORT,
        help="port to listen on (%(default)s); 0 takes any free one, auto does when the default is taken",
    )
    parser.add_argument(
        "--idle-exit", type=_idle, metavar="SECONDS", help="leave after so long without work (1800); 0 is never"
    )
    parser.add_argument("--deterministic", action="store_true", help="texts depend on the request alone, byte for byte")
    parser.add_argument("--draft", metavar="MODEL", help="drafts for models of the same tokens; auto or off")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"keys that the API asks for, one on each line, beside those of {KEY_VARIABLE}",
    )
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info")
    parser.add_argument("--version", action="version", version=f"fireside {__version__}")
    return parser.parse_args(argv)


def _port(text: str) -> int | str:
    if text == "auto":
        return text
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError("a port is a number from 0 to 65535, or auto")


def _idle(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError("seconds, 0 or more")
    return seconds


def _running(record: address.EngineRecord) -> str:
    text = f"The engine of this home listens on {record.url} already (pid {record.pid})."
    if record.version != __version__:
        text += f" It is version {record.version}, this is {__version__}: `fireside stop` ends it."
    return text


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
