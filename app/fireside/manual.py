"""The manual page, generated from the parsers, as troff for `man`."""

from __future__ import annotations

from fireside.cli import COMMANDS, ENVIRONMENT
from fireside.exit_codes import ExitCode
from fireside.parsers import options_of, parser_of
from fireside_engine import __version__


def page() -> str:
    lines = [
        f'.TH FIRESIDE 1 "" "fireside {__version__}" "User Commands"',
        ".SH NAME",
        "fireside \\- a local LLM app: your models, on this machine",
        ".SH SYNOPSIS",
        ".B fireside",
        "[COMMAND] [OPTION...]",
        ".SH DESCRIPTION",
        "Without a command it opens the chat. Commands start the engine when none runs.",
        ".SH COMMANDS",
    ]
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        lines += [f".SS fireside {name}", _text(command.sentence[:1].upper() + command.sentence[1:] + ".")]
        for option in options_of(parser):
            if option.flags == ("-h", "--help"):
                continue
            title = ", ".join(option.flags) or option.metavar
            value = f" {option.metavar}" if option.flags and option.metavar else ""
            lines += [".TP", f".B {_text(title + value)}", _text(option.text or "-")]
        if parser.epilog:
            lines += [".PP", ".nf", _text(parser.epilog), ".fi"]
    lines.append(".SH ENVIRONMENT")
    for variable, sentence in ENVIRONMENT.items():
        lines += [".TP", f".B {_text(variable)}", _text(sentence)]
    lines.append(".SH EXIT STATUS")
    for code in ExitCode:
        lines += [".TP", f".B {code.value}", _text(code.sentence)]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Without what troff would read as a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in escaped.splitlines())
