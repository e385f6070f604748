"""`fireside`: picks the command, and turns whatever goes wrong into words and an exit code.

Each command's module is imported when it is called, and the list of commands below is all that `--help` needs, so that
the start costs little more than Python itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from fireside.exit_codes import ExitCode

if TYPE_CHECKING:
    from fireside.failure import Failure


class Command(NamedTuple):
    module: str
    sentence: str


COMMANDS = {
    "run": Command("run", "answer one prompt, from the arguments, files and standard input"),
    "chat": Command("chat", "chat in the terminal; --plain without a drawn screen"),
    "ls": Command("ls", "list the conversations"),
    "show": Command("show", "show a conversation, or the code of its last answer"),
    "search": Command("search", "search all conversations"),
    "export": Command("export", "write conversations as Markdown, JSON or HTML"),
    "rm": Command("rm", "remove conversations for good"),
    "connect": Command("connect", "show what makes an editor or an agent use the engine"),
    "serve": Command("serve", "run the engine in the foreground, with its API for editors"),
    "service": Command("service", "have the system run the engine: systemd, launchd, Task Scheduler"),
    "ps": Command("ps", "show the engine and its loaded models"),
    "stop": Command("stop", "unload a model, or stop the engine"),
    "models": Command("models", "list the models that can be asked"),
    "pull": Command("pull", "fetch a model by name or from the hub, or register a file"),
    "cache": Command("cache", "show, verify or clear what is kept so that no token is computed twice"),
    "why": Command("why", "tell which model answered, and why"),
    "stats": Command("stats", "sum up what answers cost, and what was saved"),
    "bench": Command("bench", "measure what drafts gain on this machine, with your own prompts"),
    "prove": Command("prove", "prove what the small model is good enough for, on your prompts"),
    "warm": Command("warm", "load a model before it is asked"),
    "config": Command("config", "show and change what is set"),
    "completions": Command("completions", "print completion scripts for shells, or the manual page"),
    "doctor": Command("doctor", "check this installation and this machine"),
}

ENVIRONMENT = {
    "FIRESIDE_MODEL": "the model to ask when none is named",
    "FIRESIDE_HOME": "a directory for models, data, configuration, cache and runtime files",
    "FIRESIDE_PLAIN": "1: chat as linear text, for screen readers",
    "NO_COLOR": "no colours",
}

_HELP = """\
usage: fireside [COMMAND] [OPTION…]

A local LLM app: your models, on this machine. Without a command it opens the chat.

commands:
{commands}

options:
  -h, --help     this text; `fireside COMMAND --help` has the options of a command
  --version      print the version

environment:
{environment}

exit codes:
{codes}
"""


def help_text() -> str:
    commands = "\n".join(f"  {name:<13}  {command.sentence}" for name, command in COMMANDS.items())
    codes = "\n".join(f"  {code.value:<4} {code.sentence}" for code in ExitCode)
    environment = "\n".join(f"  {name:<14}  {sentence}" for name, sentence in ENVIRONMENT.items())
    return _HELP.format(commands=commands, environment=environment, codes=codes)


def main(argv: Sequence[str] | None = None) -> int:
    """The process: returns its exit code and raises nothing."""
    from fireside.stdout import abandon_stdout, claim_streams

    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words or "--ndjson" in words
    claim_streams()
    try:
        return _dispatch(words)
    except BrokenPipeError:
        abandon_stdout()
        return ExitCode.PIPE_CLOSED
    except BaseException as error:  # noqa: BLE001 - this is the last handler; everything becomes words
        failure = _in_words(error)
        if failure.exit_code is ExitCode.OK or (failure.exit_code is ExitCode.INTERRUPTED and not as_json):
            return failure.exit_code
        if isinstance(error, OSError):
            abandon_stdout()
        _report(failure, as_json=as_json)
        return failure.exit_code


def _dispatch(words: list[str]) -> ExitCode:
    name = words[0] if words else ""
    if not words:
        return _open_chat()
    if name in ("-h", "--help", "help"):
        _print(help_text())
        return ExitCode.OK
    if name == "--version":
        from fireside_engine import __version__

        _print(f"fireside {__version__}\n")
        return ExitCode.OK
    if command := COMMANDS.get(name):
        code: ExitCode = import_module(f"fireside.commands.{command.module}").main(words[1:])
        return code
    from fireside.arguments import did_you_mean
    from fireside.failure import Failure

    known = [*COMMANDS, "--help", "--version"]
    hint = did_you_mean(name, known) or 'To ask a model: fireside run "…"'
    kind = "option" if name.startswith("-") else "command"
    raise Failure(f"Unknown {kind}: {name}.", ExitCode.USAGE, hint=f"{hint} `fireside --help` lists all commands.")


def _open_chat() -> ExitCode:
    from fireside.commands import chat
    from fireside.failure import Failure

    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        hint = 'To ask a model in a pipe: … | fireside run "…". `fireside --help` lists all commands.'
        raise Failure("The chat needs a terminal.", ExitCode.USAGE, hint=hint)
    return chat.main([])


def _print(text: str) -> None:
    from fireside.stdout import Output

    Output().write(text)


def _in_words(error: BaseException) -> Failure:
    from fireside.failure import Failure, TimeLimitError, from_engine
    from fireside.wire import EngineFailure

    if isinstance(error, Failure):
        return error
    if isinstance(error, EngineFailure):
        return from_engine(error)
    if isinstance(error, KeyboardInterrupt):
        return Failure("Interrupted.", ExitCode.INTERRUPTED)
    if isinstance(error, TimeLimitError):
        return Failure("Not finished in the time of --timeout.", ExitCode.TIMEOUT)
    if isinstance(error, SystemExit):
        # argparse leaves this way after it has printed its help.
        return Failure("", ExitCode.OK if not error.code else ExitCode.USAGE)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return Failure(f"{name}{error.strerror or error}.", ExitCode.FAILED)
    return _defect(error)


def _defect(error: BaseException) -> Failure:
    """A defect of ours: the user gets one line, and the whole story lies in a file."""
    import traceback

    from fireside.failure import Failure
    from fireside_engine import address

    story = "".join(traceback.format_exception(error))
    try:
        path = address.make_private(address.log_dir()) / "client-error.txt"
        path.write_text(story, encoding="utf-8")
        hint = f"This is a defect of fireside. What happened is written in {path}."
    except OSError:
        hint = f"This is a defect of fireside.\n{story}"
    return Failure(f"{type(error).__name__}: {error}", ExitCode.FAILED, hint=hint, code="defect")


def _report(failure: Failure, *, as_json: bool) -> None:
    from fireside.terminal import Narrator, to_json_line

    narrator = Narrator()
    if as_json:
        narrator.say(to_json_line(failure.to_json()))
        return
    narrator.say(f"fireside: {failure.message}")
    if failure.hint:
        narrator.say("\n".join(f"  {line}" for line in failure.hint.splitlines()))
