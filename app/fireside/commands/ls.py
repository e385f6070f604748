"""`fireside ls`: the conversations, newest first."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fireside import table
from fireside.arguments import Parser, count
from fireside.conversations.store import Store, Summary
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output, to_json_line

NONE_YET = "fireside: no conversations yet; `fireside` and `fireside run` make them"


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("ls", "List the conversations, newest first. Models are listed by `fireside models`.")
    parser.add_argument("-n", "--number", type=count, metavar="N", help="only so many")
    parser.add_argument("--json", action="store_true", help="a JSON object in each line")
    args = parser.read(words)
    entries = Store().summaries(args.number)
    if args.json:
        Output().write("".join(f"{to_json_line(entry._asdict())}\n" for entry in entries))
    elif entries:
        Output().write(render(entries, time.time()))
    else:
        Narrator().note(NONE_YET)
    return ExitCode.OK


def render(entries: list[Summary], now: float) -> str:
    rows = [
        [
            entry.id,
            ("* " if entry.pinned else "") + (entry.title or "-"),
            str(entry.n_turns),
            entry.model or "-",
            table.ago(now - entry.updated),
        ]
        for entry in entries
    ]
    return table.render(("ID", "TITLE", "TURNS", "MODEL", "LAST"), rows)
