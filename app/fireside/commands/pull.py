"""`fireside pull`: fetches a model, or gives a file on this machine a name."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser, usage_error
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.pulling import Pull, describe, peek, peeked, to_fit
from fireside.sanitize import clean, clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

QUIET_STEP = 30.0
"""Seconds between two lines where no status line can be drawn."""

_EPILOG = """\
MODEL is one of:
  NAME                   a model of models.toml, e.g. qwen3-4b, in the quantization that runs best on this machine
  NAME:QUANT             in that quantization, e.g. qwen3-4b:Q8_0
  hf:OWNER/REPO[:WHAT]   a repository of the Hugging Face hub; WHAT is a quantization or a file
  PATH                   a .gguf file: it stays where it is and gets a name

An interrupted download goes on where it ended when the same command is given again.
Tokens, mirrors and offline use are those of the hub's own tools: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.
"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("pull", "Fetch a model. Its name is written to standard output.", _EPILOG)
    parser.add_argument("model", metavar="MODEL", help="what to fetch")
    parser.add_argument("--quant", default="", metavar="QUANT", help="the quantization, e.g. Q4_K_M")
    parser.add_argument("--fit", action="store_true", help="of a repository too, what runs best here, or nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what would be fetched, and what else there is")
    parser.add_argument("--check", action="store_true", help="compare the checksum of a file that is there already")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no remarks")
    parser.add_argument("--json", action="store_true", help="tell the outcome as JSON")
    args = parser.read(words)
    if args.dry_run and args.check:
        raise usage_error("Give --dry-run or --check, not both.")
    if args.fit and args.quant:
        raise usage_error("Give --fit or --quant, not both.")
    narrator = Narrator(quiet=args.quiet)
    quant = args.quant
    if args.fit:
        quant = _fitting(args.model, peek(args.model, narrator.status), narrator)
    elif not (quant or args.dry_run or args.check) and is_plain_name(args.model):
        quant = _usual_or_fitting(args.model, narrator)
    with Pull(args.model, quant=quant, check=args.check, dry_run=args.dry_run) as pull:
        try:
            outcome = _follow(pull, narrator)
        except KeyboardInterrupt:
            pull.cancel()
            hint = "What was fetched is kept: the same command continues."
            raise Failure("Interrupted.", ExitCode.INTERRUPTED, hint=hint) from None
        finally:
            narrator.clear()
    if args.json:
        Output().write(to_json_line(outcome) + "\n")
    elif outcome["event"] == "choice":
        Output().write(render_choice(outcome))
    else:
        Output().write(f"{clean_line(outcome['name'])}\n")
        narrator.note(render_outcome(outcome))
    return ExitCode.OK


def is_plain_name(model: str) -> bool:
    """A name of models.toml that says nothing of a quantization: no repository, no path, no `:QUANT`."""
    return not any(mark in model for mark in (":", "/", "\\")) and not model.lower().endswith(".gguf")


def _usual_or_fitting(model: str, narrator: Narrator) -> str:
    """What runs best here, where there is a choice and nothing was fetched before; "" is the usual quantization."""
    try:
        event = peeked(model, narrator.status)
    except Failure:
        return ""  # the pull itself meets the same, unless the file is here already
    finally:
        narrator.clear()
    known = to_fit(event)
    if event["there"] or len({file["quant"] for file in known["files"]}) < 2:
        return ""
    return _fitting(model, known, narrator)


def _fitting(model: str, known: JsonObject, narrator: Narrator) -> str:
    """The quantization that the engine picks for this machine, from a header alone. Raises Failure when none fits."""
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        narrator.status("looking at this machine")
        (found,) = client.post("/fireside/fit", known)["models"]
    finally:
        narrator.clear()
    picked = next((row for row in found["rows"] if row["picked"]), None)
    if picked is None:
        hint = f"`fireside models fit {model}` shows why; --quant fetches one all the same."
        raise Failure(f"No quantization of {model} fits this machine.", ExitCode.MODEL, hint=hint, code="does_not_fit")
    narrator.note(found["reason"])
    # By the name of the file: what its header calls the quantization may be another word.
    return next(str(file["quant"]) for file in known["files"] if file["stem"] == picked["name"])


def _follow(pull: Pull, narrator: Narrator) -> JsonObject:
    """Show the progress; gives the last event."""
    event: JsonObject = {}
    told, stage = time.monotonic(), ""
    for event in pull.events():
        if event["event"] != "progress":
            continue
        line = describe(event)
        now = time.monotonic()
        if narrator.is_live:
            narrator.status(line)
        elif event["stage"] != stage or now - told >= QUIET_STEP:
            narrator.note(line)
            told, stage = now, event["stage"]
    return event


def render_outcome(outcome: JsonObject) -> str:
    """What came of it, in sentences."""
    name = outcome["name"]
    word = f'"{name}"' if " " in name else name
    if outcome["how"] == "downloaded":
        seconds = outcome["seconds"]
        speed = f" in {table.duration(seconds)}, {table.size(outcome['fetched'] / seconds)}/s" if seconds > 1 else ""
        licence = f" Licence: {outcome['licence']}." if outcome["licence"] else ""
        first = f"Fetched {table.size(outcome['fetched'])}{speed}. {outcome['reason']}{licence}"
    else:
        first = f"Nothing to fetch. {outcome['reason']}"
    lines = [first, f'Ask it with: fireside run -m {word} "…"']
    if outcome["unconfirmed"]:
        lines.insert(1, _doubt(outcome))
    return "\n".join(lines)


def render_choice(choice: JsonObject) -> str:
    """What would be fetched, and what else the repository has."""
    rows = [
        [">" if model["chosen"] else "", model["quant"] or "-", table.size(model["size"]), model["stem"]]
        for model in choice["models"]
    ]
    licence = f", licence {choice['licence']}" if choice["licence"] else ""
    if choice["there"]:
        last = f"It is on this machine already: {choice['there']}"
    else:
        last = f"To fetch: {table.size(choice['missing'])}, to {choice['path']}"
    first = f"From {choice['repo']} at {choice['commit'][:12]}{licence}"
    if choice["unconfirmed"]:
        last += f"\n{_doubt(choice)}"
    return f"{clean_line(first)}\n{table.render(('', 'QUANT', 'SIZE', 'FILE'), rows)}{clean(last)}\n"


def _doubt(outcome: JsonObject) -> str:
    return f"Not all about it could be confirmed, so check its licence: {outcome['unconfirmed']}."
