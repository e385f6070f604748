"""`fireside models rm`: removes models from this machine, or what unfinished downloads left."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser, usage_error
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

_EPILOG = """\
Of a file that lies elsewhere only the name is forgotten. Models of other programs are left to those programs.
"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models rm", "Remove models from this machine.", _EPILOG)
    parser.add_argument("models", nargs="*", metavar="NAME", help="a model, as `fireside models` names it")
    parser.add_argument("--unfinished", action="store_true", help="throw away downloads that were not finished")
    parser.add_argument("--yes", action="store_true", help="no further question")
    parser.add_argument("--json", action="store_true", help="what was removed, as JSON")
    args = parser.read(words)
    if bool(args.models) == args.unfinished:
        raise usage_error("Name models, or give --unfinished.", hint="`fireside models` lists them.")
    if args.models and not args.yes and not _confirmed(args.models):
        Output().write("Nothing was removed.\n")
        return ExitCode.OK
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
    finally:
        narrator.clear()
    bodies: list[JsonObject] = [{"unfinished": True}] if args.unfinished else [{"model": name} for name in args.models]
    everything: JsonObject = {"removed": [], "busy": []}
    for body in bodies:
        done = client.post("/fireside/remove", body)
        everything = {key: [*everything[key], *done[key]] for key in everything}
        if not args.json:
            Output().write(render(done))
    if args.json:
        Output().write(to_json_line(everything) + "\n")
    elif not any(everything.values()):
        Output().write("There was nothing.\n")
    return ExitCode.OK


def _confirmed(names: Sequence[str]) -> bool:
    """Asked where somebody can answer; a script has said what it wants."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        return True
    Narrator().say(f"Remove {', '.join(names)} from this machine? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def render(done: JsonObject) -> str:
    lines = [
        f"{one['name']} is forgotten; its file stays: {one['kept']}"
        if one["kept"]
        else f"{one['name']} is removed: {table.size(one['freed'])}."
        for one in done["removed"]
    ]
    lines += [f"{name} is being fetched now; Ctrl-C there first." for name in done["busy"]]
    return "".join(f"{clean_line(line)}\n" for line in lines)
