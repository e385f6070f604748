"""`fireside export`: conversations as Markdown, JSON or HTML, on standard output, in a file, or a file for each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fireside.arguments import Parser, usage_error
from fireside.conversations.documents import KINDS, document, kind_of
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output

_EPILOG = """\
Markdown and HTML have the present branch, JSON has all. HTML is one page that needs no network. Where FILE is a folder,
or ends with a slash, each conversation becomes a file in it. Several conversations are one list in JSON."""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("export", "Write conversations as Markdown, JSON or HTML.", _EPILOG)
    parser.add_argument("ids", nargs="*", metavar="ID", help="a conversation; its beginning, or `last`")
    parser.add_argument("--all", action="store_true", help="every conversation")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; standard output where it is missing")
    parser.add_argument("--format", choices=KINDS, help="by the ending of FILE, md where that says nothing")
    args = parser.read(words)
    if bool(args.ids) == args.all:
        raise usage_error("Name conversations, or give --all.", hint="`fireside ls` lists them.")
    store = Store()
    ids = [entry.id for entry in store.summaries()] if args.all else [store.resolve(word) for word in args.ids]
    conversations = [store.load(id_) for id_ in ids]
    kind = args.format or kind_of(args.output or "")
    if args.output is None:
        Output().write(document(conversations, kind))
        return ExitCode.OK
    target = Path(args.output).expanduser()
    if target.is_dir() or args.output.endswith(os.sep):
        target.mkdir(parents=True, exist_ok=True)
        for conversation in conversations:
            name = f"{file_name(conversation)}.{kind}"
            (target / name).write_text(document([conversation], kind), encoding="utf-8", errors="replace")
    else:
        target.write_text(document(conversations, kind), encoding="utf-8", errors="replace")
    many = "1 conversation" if len(conversations) == 1 else f"{len(conversations)} conversations"
    Narrator().note(f"fireside: wrote {many} to {target}")
    return ExitCode.OK


def file_name(conversation: Conversation) -> str:
    """Of a conversation's own file: what it is about, and its id."""
    words = re.sub(r"[^\w]+", "-", conversation.title.lower()).strip("-")[:40].strip("-")
    return f"{words}-{conversation.id}" if words else conversation.id
