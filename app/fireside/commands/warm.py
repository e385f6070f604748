"""`fireside warm`: has a model in memory before it is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.terminal import Narrator, Output


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("warm", "Load a model, so that the next request need not wait for it.")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name or a path; else the default model")
    parser.add_argument("--deterministic", action="store_true", help="as requests with --deterministic need it")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    args = parser.read(words)
    choice, narrator = ModelChoice(args.model), Narrator(quiet=args.quiet)
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        began = time.monotonic()
        narrator.status(f"loading {choice.name or 'the default model'}")
        body = {"model": choice.resolve(client), "deterministic": args.deterministic}
        name = client.post("/fireside/load", body).get("model")
    finally:
        narrator.clear()
    took = time.monotonic() - began
    Output().write(f"{name} is loaded{f' ({table.duration(took)})' if took >= 1 else ''}.\n")
    return ExitCode.OK
