"""`fireside search`: full-text search of all conversations."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from fireside import table
from fireside.arguments import Parser, count
from fireside.conversations.search import Excerpt
from fireside.conversations.store import Hit, Store
from fireside.exit_codes import ExitCode
from fireside.sanitize import clean, clean_line
from fireside.terminal import Narrator, Output, to_json_line

MOST = 20
_EPILOG = """\
Messages that have all of the words, in any order; words are found by their beginnings, without regard to case and
accents. "Words in quotes" stand together."""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("search", "Search all conversations.", _EPILOG)
    parser.add_argument("query", nargs="+", metavar="QUERY", help="what to look for")
    parser.add_argument("--in", dest="within", metavar="ID", help="only in this conversation")
    parser.add_argument("-n", "--number", type=count, default=MOST, metavar="N", help=f"at most so many ({MOST})")
    parser.add_argument("--json", action="store_true", help="a JSON object in each line")
    args = parser.read(words)
    store = Store()
    within = store.resolve(args.within) if args.within else None
    hits = store.search(" ".join(args.query), within=within, limit=args.number)
    output = Output()
    if args.json:
        output.write("".join(f"{to_json_line(_to_json(hit))}\n" for hit in hits))
    elif hits:
        output.write(render(hits, time.time(), coloured=output.is_terminal and not os.environ.get("NO_COLOR")))
    else:
        Narrator().note("fireside: nothing found")
    return ExitCode.OK


def _to_json(hit: Hit) -> dict[str, object]:
    return {**hit._asdict(), "excerpt": hit.excerpt.text, "marks": hit.excerpt.marks}


def render(hits: list[Hit], now: float, *, coloured: bool) -> str:
    """The hits under their conversations, which stand in the order of their best one."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.conversation, []).append(hit)
    lines: list[str] = []
    for conversation, found in groups.items():
        lines.append(f"{conversation}  {clean_line(found[0].title)}")
        for hit in found:
            who = {"user": "you", "assistant": "model"}.get(hit.role, hit.role)
            when = table.ago(now - hit.created)
            lines.append(f"  {who}, {when}: {marked(hit.excerpt) if coloured else clean(hit.excerpt.text)}")
    return "".join(f"{line}\n" for line in lines)


def marked(excerpt: Excerpt) -> str:
    """With what was found in bold."""
    found, at = "", 0
    for start, end in excerpt.marks:
        found += f"{clean(excerpt.text[at:start])}\x1b[1m{clean(excerpt.text[start:end])}\x1b[0m"
        at = end
    return found + clean(excerpt.text[at:])
