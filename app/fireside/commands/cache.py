"""`fireside cache`: what is kept of conversations so that no token is computed twice. Shows, verifies and clears it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from fireside import engine_process, table
from fireside.arguments import Parser, did_you_mean, usage_error
from fireside.client import EngineClient
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

PATH = "/fireside/cache"
SHOWN = 20
"""Conversations, unless all are asked for."""
QUIET_STEP = 30.0
"""Seconds between two lines of progress where no status line can be drawn."""
ID_LENGTH = 16
"""Of a conversation's name, where a client chose a long one."""

_USAGE = """\
usage: fireside cache [show|verify|prune|forget|clear] [OPTION…]

What the models have computed of your conversations (KV) is kept on disk, so that no token is computed twice. It can be
deleted at any time: the next answer then takes as long as the first one did.

  show               what is kept, by model and conversation
  verify             read all of it, and remove what is damaged
  prune --to SIZE    remove the longest unused until no more than SIZE is left, e.g. 2GB
  forget ID…         remove what only these conversations use; the conversations stay
  clear [MODEL]      remove everything, or what belongs to a model

`fireside cache COMMAND --help` has the options of each. How much may be kept is set in config.toml.
"""


def main(words: Sequence[str]) -> ExitCode:
    name = words[0] if words and not words[0].startswith("-") else ""
    if words and words[0] in ("-h", "--help"):
        Output().write(_USAGE)
        return ExitCode.OK
    command = _COMMANDS.get(name or "show")
    if command is None:
        hint = f"{did_you_mean(name, _COMMANDS)} `fireside cache --help` lists what there is.".strip()
        raise usage_error(f"Unknown command: cache {name}.", hint=hint)
    return command(words[1:] if name else words)


# --- show


def _show(words: Sequence[str]) -> ExitCode:
    parser = Parser("cache show", "Show what is kept, by model and conversation.")
    parser.add_argument("--all", action="store_true", help=f"every conversation, not only the {SHOWN} used last")
    _json_option(parser)
    args = parser.read(words)
    report = _ask(lambda client: client.get(PATH))
    if args.json:
        Output().write(to_json_line(report) + "\n")
    else:
        Output().write(render(report, _titles(), time.time(), limit=None if args.all else SHOWN))
    return ExitCode.OK


def render(report: JsonObject, titles: dict[str, str], now: float, *, limit: int | None = SHOWN) -> str:
    """titles: of conversations, by id. now: seconds since 1970."""
    parts = [f"{table.size(report['bytes'])} of {table.size(report['budget'])} used in {report['directory']}"]
    if not report["enabled"]:
        parts.append("config.toml turns it off: nothing is added")
    if not (report["reading"] and report["writing"]):
        parts.append("the disk fails: it is off for a minute")
    if removed := report["counts"].get("removed_doubtful"):
        parts.append(f"{removed} damaged records were removed so far")
    text = "".join(f"{clean_line(part)}\n" for part in parts)
    if report["models"]:
        rows = [[usage["model"] or "-", *_numbers(usage, now)] for usage in report["models"]]
        text += "\n" + table.render(("MODEL", *_HEAD), rows)
    conversations = report["conversations"]
    if conversations:
        rows = [[_name(usage, titles), usage["model"] or "-", *_numbers(usage, now)] for usage in conversations[:limit]]
        text += "\n" + table.render(("CONVERSATION", "MODEL", *_HEAD), rows)
        hidden = len(conversations) - len(rows)
        if hidden:
            text += f"and {hidden} more; `fireside cache show --all` lists them\n"
        text += "What conversations share is counted with each of them, and stored once.\n"
    return text


_HEAD = ("TOKENS", "SIZE", "RESTORED", "LAST")


def _numbers(usage: JsonObject, now: float) -> list[str]:
    tokens = f"{usage['tokens']:,}"
    if usage["checkpoints"]:
        tokens += f" + {_count(usage['checkpoints'], 'checkpoint')}"
    times = _count(usage["hits"], "block") if usage["hits"] else "-"
    return [tokens, table.size(usage["bytes"]), times, table.ago(now - usage["used_at"])]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _name(usage: JsonObject, titles: dict[str, str]) -> str:
    id_ = usage["conversation"]
    if not id_:
        words = "without a conversation"
    elif title := titles.get(id_):
        words = f"{id_} {title}"
    else:
        words = id_ if len(id_) <= ID_LENGTH else f"{id_[:ID_LENGTH]}…"
    return f"{words} (API key {usage['tenant'][:8]})" if usage["tenant"] else words


def _titles() -> dict[str, str]:
    # Without the titles, the ids have to do.
    with contextlib.suppress(Failure), contextlib.closing(Store()) as store:
        return {entry.id: entry.title for entry in store.summaries()}
    return {}


# --- verify


def _verify(words: Sequence[str]) -> ExitCode:
    description = "Read all that is kept, and remove what is damaged. Exit code 1 if something was."
    parser = Parser("cache verify", description)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    _json_option(parser)
    args = parser.read(words)
    narrator = Narrator(quiet=args.quiet)
    try:
        client = _client(narrator)
        outcome = _follow(client, narrator)
    finally:
        narrator.clear()
    bad = outcome["removed"]
    if args.json:
        Output().write(to_json_line(outcome) + "\n")
    elif bad["records"]:
        words_ = f"{bad['records']:,} of {outcome['records']:,} records were damaged and are removed"
        Output().write(f"{words_} ({table.size(bad['bytes'])}). What they held is computed again when it is needed.\n")
    else:
        Output().write(f"{outcome['records']:,} records, {table.size(outcome['bytes'])}: all as they were written.\n")
    return ExitCode.FAILED if bad["records"] else ExitCode.OK


def _follow(client: EngineClient, narrator: Narrator) -> JsonObject:
    told = time.monotonic()
    outcome: JsonObject = {}
    for event in client.stream(f"{PATH}/verify", {}):
        if "verified" in event:
            outcome = event["verified"]
        elif event["total"]:
            done, total = event["done"], event["total"]
            line = f"verifying  {done / total:.0%}  {table.size(done)} of {table.size(total)}"
            if narrator.is_live:
                narrator.status(line)
            elif time.monotonic() - told >= QUIET_STEP:
                narrator.note(line)
                told = time.monotonic()
    return outcome


# --- what removes


def _prune(words: Sequence[str]) -> ExitCode:
    parser = Parser("cache prune", "Remove the longest unused until no more than a size is left.")
    parser.add_argument("--to", required=True, metavar="SIZE", help="e.g. 2GB or 500MB; GiB are powers of 1024")
    _json_option(parser)
    args = parser.read(words)
    return _tell(args.json, _ask(lambda client: client.post(f"{PATH}/prune", {"to": args.to})))


def _forget(words: Sequence[str]) -> ExitCode:
    description = "Remove what only these conversations use. They themselves stay; `fireside rm` removes them."
    parser = Parser("cache forget", description)
    names = "a conversation: its id or the beginning of it, `last`, or the name that a client of the API gave it"
    parser.add_argument("ids", nargs="+", metavar="ID", help=names)
    _json_option(parser)
    args = parser.read(words)
    ids = [_resolve(word) for word in args.ids]
    return _tell(args.json, _ask(lambda client: _forget_all(client, ids)))


def _forget_all(client: EngineClient, ids: Sequence[str]) -> JsonObject:
    removed = [client.post(f"{PATH}/forget", {"conversation": id_}) for id_ in ids]
    return {name: sum(each[name] for each in removed) for name in ("records", "bytes")}


def _clear(words: Sequence[str]) -> ExitCode:
    parser = Parser("cache clear", "Remove everything that is kept, or what belongs to a model.")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="as `fireside cache show` names it")
    _json_option(parser)
    args = parser.read(words)
    body = {"model": args.model} if args.model else {}
    return _tell(args.json, _ask(lambda client: client.post(f"{PATH}/clear", body)))


def _resolve(word: str) -> str:
    """A conversation of ours; any other word is a name that a client of the API chose."""
    with contextlib.suppress(Failure), contextlib.closing(Store()) as store:
        return store.resolve(word)
    return word


def _tell(as_json: bool, removed: JsonObject) -> ExitCode:
    if as_json:
        Output().write(to_json_line(removed) + "\n")
    elif removed["records"]:
        Output().write(f"Removed {removed['records']:,} records, {table.size(removed['bytes'])}.\n")
    else:
        Output().write("There was nothing to remove.\n")
    return ExitCode.OK


# --- the engine


def _json_option(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _ask(question: Callable[[EngineClient], JsonObject]) -> JsonObject:
    narrator = Narrator()
    try:
        return question(_client(narrator))
    finally:
        narrator.clear()


def _client(narrator: Narrator) -> EngineClient:
    return EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))


_COMMANDS: dict[str, Callable[[Sequence[str]], ExitCode]] = {
    "show": _show,
    "verify": _verify,
    "prune": _prune,
    "forget": _forget,
    "clear": _clear,
}
