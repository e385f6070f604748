"""The argument parser of every command: argparse that fails in our words and guesses what was meant."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from typing import NoReturn

from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.terminal import Output


def usage_error(message: str, *, hint: str = "") -> Failure:
    return Failure(message, ExitCode.USAGE, hint=hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question with the closest known word, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`?" if close else ""


class Collected(Exception):
    """A parser is complete, and its command is not carried out."""

    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """One command's parser. Options may stand before, between and after the words of a prompt."""

    is_collecting = False
    """Whether completions or the manual are made, which need the parser and nothing of the command."""

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"fireside {command}",
            description=description,
            epilog=epilog or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - argparse's signature
        """Written at once, so that a reader who left is noticed here and not when Python exits."""
        Output().write(self.format_help())

    def error(self, message: str) -> NoReturn:
        raise usage_error(f"{message[:1].upper()}{message[1:]}.", hint=f"`{self.prog} --help` lists what there is.")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line. Raises Failure."""
        if Parser.is_collecting:
            raise Collected(self)
        args, unknown = self.parse_known_intermixed_args(list(words))
        if not unknown:
            return args
        word = unknown[0]
        if not word.startswith("-"):
            self.error(f"unexpected argument: {word}")
        flag = word.partition("=")[0]
        guess = did_you_mean(flag, self._option_string_actions)
        hint = f"{guess} `{self.prog} --help` lists all options.".strip()
        raise usage_error(f"Unknown option: {flag}.", hint=hint)


def number(text: str) -> float:
    """An argument that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no number")
    return value


def positive(text: str) -> float:
    """An argument that is a number above zero."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def whole(text: str) -> int:
    """An argument that is a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None


def count(text: str) -> int:
    """An argument that is a whole number above zero."""
    value = whole(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
