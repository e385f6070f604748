"""`fireside stop`: frees the memory of one model or of all, or ends the engine."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import engine_process
from fireside.arguments import Parser, usage_error
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("stop", "Unload a model, or all; without either, stop the engine.")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="unload this one")
    parser.add_argument("--all", action="store_true", help="unload every model; the engine stays")
    args = parser.read(words)
    if args.model and args.all:
        raise usage_error("Give a model or --all, not both.")
    if not args.model and not args.all:
        return _stop_engine()
    endpoint = engine_process.find()
    if endpoint is None:
        Output().write("No engine runs.\n")
        return ExitCode.OK
    client = EngineClient(endpoint)
    if args.all:
        loaded = client.get("/fireside/status", timeout=engine_process.HELLO_TIMEOUT).get("models") or []
        # A model that is loaded in two ways, deterministic and not, is unloaded by its name in both.
        names = list(dict.fromkeys(str(model["name"]) for model in loaded))
    else:
        names = [args.model]
    for name in names:
        done = client.post("/fireside/unload", {"model": name}).get("unloaded", True)
        Output().write(f"{name} is unloaded.\n" if done else f"{name} leaves when its answers are complete.\n")
    if not names:
        Output().write("No model is loaded.\n")
    return ExitCode.OK


def _stop_engine() -> ExitCode:
    narrator = Narrator()
    try:
        stopped = engine_process.stop(status=narrator.status)
    finally:
        narrator.clear()
    Output().write("The engine has stopped.\n" if stopped else "No engine runs.\n")
    return ExitCode.OK
