"""`fireside serve`: this process becomes the engine, in the foreground."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from fireside import engine_process
from fireside.arguments import Parser, number, usage_error, whole
from fireside.exit_codes import ExitCode
from fireside_engine import address

_KEYS = "FIRESIDE_API_KEY"
_DESCRIPTION = f"""\
Run the engine in the foreground until Ctrl-C. It serves the OpenAI API for editors and SDKs on this machine;
the base URL is http://127.0.0.1:{address.DEFAULT_PORT}/v1 unless another port is given."""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("serve", _DESCRIPTION)
    parser.add_argument("--host", metavar="ADDRESS", help="listen here instead of on 127.0.0.1")
    parser.add_argument("--port", type=_port, metavar="PORT", help=f"instead of {address.DEFAULT_PORT}")
    parser.add_argument("--idle-exit", type=number, default=0.0, metavar="SECONDS", help="leave when idle this long")
    parser.add_argument(
        "--deterministic", action="store_true", help="every model answers as `run --deterministic` does"
    )
    parser.add_argument("--draft", metavar="MODEL", help="drafts for models of the same tokens; auto or off")
    parser.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help="ask clients for this key; may be repeated, and what is kept of one key's prompts serves no other",
    )
    parser.add_argument("--api-key-file", metavar="FILE", help="keys, one on each line")
    args = parser.read(words)
    if endpoint := engine_process.find():
        raise usage_error(f"An engine runs already on {endpoint.url}.", hint="`fireside stop` ends it; then try again.")
    command = address.engine_command(
        host=args.host,
        port=args.port,
        idle_exit=args.idle_exit,
        deterministic=args.deterministic,
        draft=args.draft,
        api_key_file=args.api_key_file,
    )
    # Not as arguments: those of a process that stays can be read by every user of the machine.
    keys = [*args.api_key, os.environ.get(_KEYS, "")]
    os.execve(command[0], command, {**os.environ, _KEYS: "\n".join(keys).strip()})  # noqa: S606 - our own interpreter


def _port(text: str) -> int:
    port = whole(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; they go up to 65535")
    return port
