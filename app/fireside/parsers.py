"""The parsers of all commands, for what is generated from them: completions and the manual."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import NamedTuple

from fireside.arguments import Collected, Parser
from fireside.cli import COMMANDS


class OptionHelp(NamedTuple):
    """One option or argument."""

    flags: tuple[str, ...]
    """Empty for an argument that stands by its place."""
    metavar: str
    """Empty where it takes no value."""
    choices: tuple[str, ...]
    text: str


def parser_of(command: str) -> Parser:
    """As the command builds it."""
    Parser.is_collecting = True
    try:
        import_module(f"fireside.commands.{COMMANDS[command].module}").main([])
    except Collected as collected:
        return collected.parser
    finally:
        Parser.is_collecting = False
    raise LookupError(f"`{command}` reads no command line")


def options_of(parser: Parser) -> list[OptionHelp]:
    found = []
    for action in parser._actions:
        takes = action.nargs != 0 and not isinstance(action, argparse._HelpAction)
        choices = tuple(map(str, action.choices or ()))
        metavar = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
        text = (action.help or "").replace("%%", "%")
        found.append(OptionHelp(tuple(action.option_strings), metavar if takes else "", choices, text))
    return found
