"""`fireside chat`: the terminal app, or with --plain a conversation line by line."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import settings, sources
from fireside.arguments import Parser, usage_error
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.terminal import Narrator, Output


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("chat", "Chat in the terminal.")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's name, or the path of a .gguf file")
    parser.add_argument("-m", "--model", dest="option", metavar="MODEL", help="the same")
    parser.add_argument("-s", "--system", metavar="TEXT|@FILE", default="", help="the system prompt")
    parser.add_argument(
        "--plain", action="store_true", help="linear text: nothing is drawn, for screen readers and pipes"
    )
    args = parser.read(words)
    choice = ModelChoice(args.option or args.model)
    system = sources.text_or_file(args.system, Narrator())
    if args.plain or settings.wants_plain():
        from fireside.repl import Repl, read_line

        Repl(choice, system, read_line).run()
        return ExitCode.OK
    if not Output().is_terminal:
        raise usage_error("The chat needs a terminal.", hint="`fireside chat --plain` works in a pipe.")
    from fireside.tui.app import run

    return ExitCode(run(choice.name, system))
