"""`fireside chat`: the terminal app, or with --plain a conversation line by line."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import app_settings, settings
from fireside.arguments import Parser, usage_error
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.recording import Recording
from fireside.run_request import system_of
from fireside.terminal import Narrator, Output


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("chat", "Chat in the terminal.")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's name, or the path of a .gguf file")
    parser.add_argument("-m", "--model", dest="option", metavar="MODEL", help="the same")
    parser.add_argument("-s", "--system", metavar="TEXT|@FILE", help="the system prompt")
    parser.add_argument("-p", "--persona", metavar="NAME", help="a system prompt by its name")
    parser.add_argument(
        "--plain", action="store_true", help="linear text: nothing is drawn, for screen readers and pipes"
    )
    parser.add_argument(
        "-c",
        "--resume",
        nargs="?",
        const="last",
        metavar="ID",
        help="go on with the last conversation, or with this one; the beginning of its id is enough",
    )
    parser.add_argument("--draft", metavar="MODEL", help="the model that drafts; auto, or off to decode token by token")
    parser.add_argument("--no-save", dest="save", action="store_false", help="keep nothing of it")
    args = parser.read(words)
    chosen = app_settings.load()
    saves = args.save and chosen.save
    system = system_of(args, chosen, Narrator())
    if args.plain or settings.wants_plain():
        from fireside.repl import Repl, read_line

        recording = Recording(args.resume, save=saves)
        recording.draft = args.draft or ""
        if system is not None:
            recording.conversation.system = system
        Repl(recording, recording.choice(args.option or args.model), read_line).run()
        return ExitCode.OK
    if not Output().is_terminal:
        raise usage_error("The chat needs a terminal.", hint="`fireside chat --plain` works in a pipe.")
    word = args.option or args.model
    # Without a word, a chat that goes on stays with its model.
    name = ModelChoice(word).name if word or not args.resume else ""
    from fireside.tui.app import run
    from fireside.tui.start import Start

    start = Start(name, system, args.resume or "", args.draft or "", welcomes=not word and not args.resume)
    return ExitCode(run(start, saves=saves, settings=chosen))
