"""`fireside show`: one conversation as Markdown, or the code of its last answer."""

from __future__ import annotations

from collections.abc import Sequence

from fireside.arguments import Parser
from fireside.code import pick
from fireside.conversations.export import to_json, to_markdown
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.sanitize import clean
from fireside.terminal import Output, to_json_text


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser(
        "show", "Show a conversation: its present branch as Markdown.", "ID may be its beginning, or `last`."
    )
    parser.add_argument("id", metavar="ID", nargs="?", default="last", help="the last one where none is named")
    form = parser.add_mutually_exclusive_group().add_argument
    form("-a", "--answer", action="store_true", help="only the last answer")
    form(
        "-x",
        "--extract",
        nargs="?",
        const="",
        metavar="LANG",
        help="only the first code block of the last answer, or the first one of this language",
    )
    form("--json", action="store_true", help="all branches, as JSON")
    args = parser.read(words)
    store = Store()
    conversation = store.load(store.resolve(args.id))
    if args.json:
        text = to_json_text(to_json(conversation))
    elif args.answer or args.extract is not None:
        answer = conversation.last_answer()
        if answer is None:
            raise Failure("There is no answer in this conversation.", ExitCode.FAILED, code="no_answer")
        text = f"{answer.text}\n"
        if args.extract is not None:
            code = pick(answer.text, args.extract)
            if code is None:
                what = f"{args.extract} code block" if args.extract else "code block"
                raise Failure(f"The last answer has no {what}.", ExitCode.FAILED, code="no_code")
            text = code.text
    else:
        text = to_markdown(conversation)
    Output().write(clean(text))
    return ExitCode.OK
