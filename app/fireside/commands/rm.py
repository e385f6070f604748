"""`fireside rm`: removes conversations for good, their KV cache in the engine too."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import engine_process
from fireside.arguments import Parser, usage_error
from fireside.client import EngineClient
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.forgetting import forget_removed
from fireside.sanitize import clean_line
from fireside.terminal import Output


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("rm", "Remove conversations for good. Models are removed by `fireside models rm`.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="a conversation; its beginning, or `last`")
    parser.add_argument("--all", action="store_true", help="every conversation; needs --yes")
    parser.add_argument("--yes", action="store_true", help="no further question")
    args = parser.read(words)
    if bool(args.ids) == args.all:
        raise usage_error("Name conversations, or give --all.", hint="`fireside ls` lists them.")
    if args.all and not args.yes:
        raise usage_error("This removes every conversation.", hint="If that is meant: fireside rm --all --yes")
    store = Store()
    titles = {entry.id: entry.title for entry in store.summaries()}
    # All names are looked up before anything is removed.
    ids = list(titles) if args.all else list(dict.fromkeys(store.resolve(word) for word in args.ids))
    store.remove(ids)
    endpoint = engine_process.find()
    if endpoint is not None:
        forget_removed(store, EngineClient(endpoint))
    Output().write("".join(f"Removed {id_}  {clean_line(titles[id_])}\n" for id_ in ids) or "There was nothing.\n")
    return ExitCode.OK
