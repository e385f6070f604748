"""Slash commands: what there is, and how a line is read. Pure; `screens.chat` does what they say."""

from __future__ import annotations

from typing import NamedTuple

from fireside.arguments import did_you_mean


class Command(NamedTuple):
    name: str
    argument: str
    """How the argument is shown in help; in brackets where it may be left out, empty where there is none."""
    description: str

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.argument}".rstrip()


COMMANDS = (
    Command("new", "", "Start a new chat"),
    Command("model", "[NAME]", "Use another model for the next message"),
    Command("pull", "MODEL|stop", "Fetch a model while the chat goes on, and use it then"),
    Command("system", "[TEXT]", "Set the system prompt; without text, clear it"),
    Command("persona", "[NAME]", "Use a system prompt by its name; without one, list them"),
    Command("copy", "[code]", "Copy the last answer, or its code"),
    Command("chats", "[WORDS]", "All chats; with words, search their messages"),
    Command("search", "[WORDS]", "Search the messages of all chats"),
    Command("tree", "", "All branches of this chat"),
    Command("fork", "", "A new chat that begins like this one"),
    Command("rename", "[TITLE]", "Name this chat; without a title, after its first question"),
    Command("export", "[FILE]", "Write this chat to a file: Markdown, or JSON or HTML by its ending"),
    Command("retry", "", "Answer the last message again, with a new seed"),
    Command("temp", "[NUMBER]", "Set the temperature; without a number, the engine's own"),
    Command("seed", "[NUMBER]", "Set the seed; without a number, a new one each time"),
    Command("deterministic", "on|off", "Text that depends on the request alone, byte for byte"),
    Command("draft", "[MODEL]", "The model that drafts: a name, auto or off; without one, the engine's choice"),
    Command("theme", "[NAME]", "Use a theme; without a name, choose one"),
    Command("tint", "", "Tint what was drafted and accepted, in answers as they were written; on or off"),
    Command("vim", "", "esc leaves the prompt for the messages, i goes back; on or off"),
    Command("help", "", "Show keys and commands"),
    Command("quit", "", "Leave fireside"),
)
_BY_NAME = {command.name: command for command in COMMANDS}
_BARE = {"exit": "quit", "quit": "quit", ":q": "quit"}
"""Whole messages that mean a command without a slash."""


class Invocation(NamedTuple):
    command: Command
    argument: str


class BadCommandError(ValueError):
    """A line that is meant as a command and is none."""


def parse(line: str) -> Invocation | None:
    """The command in a message, or None if it is a message. Raises BadCommandError with words for the user."""
    stripped = line.strip()
    if name := _BARE.get(stripped):
        return Invocation(_BY_NAME[name], "")
    if not is_command(stripped):
        return None
    name, _, argument = stripped[1:].partition(" ")
    command = _BY_NAME.get(name.lower())
    if command is None:
        guess = did_you_mean(name.lower(), _BY_NAME)
        raise BadCommandError(f"There is no command /{name}. {guess}".strip())
    if argument and not command.argument:
        raise BadCommandError(f"/{command.name} takes nothing after it.")
    return Invocation(command, argument.strip())


def is_command(text: str) -> bool:
    """Whether a message is meant as a command: one line that starts with a slash and a word, so no path, no comment."""
    return text.startswith("/") and "\n" not in text and text[1:].partition(" ")[0].isalpha()


def matching(name: str) -> list[Command]:
    """Commands whose name starts with `name`."""
    return [command for command in COMMANDS if command.name.startswith(name.lower())]


def number(argument: str, low: float, high: float, what: str) -> float | None:
    """The argument as a number, None if it was left out. Raises BadCommandError."""
    if not argument:
        return None
    try:
        value = float(argument)
    except ValueError:
        raise BadCommandError(f"{what} is a number, not “{argument}”.") from None
    if not low <= value <= high:
        raise BadCommandError(f"{what} lies between {low:g} and {high:g}.")
    return value


def whole_number(argument: str, what: str) -> int | None:
    """The argument as a number without sign, None if it was left out. Raises BadCommandError."""
    if not argument:
        return None
    if not (argument.isascii() and argument.isdigit() and int(argument) < 2**64):
        raise BadCommandError(f"{what} is a whole number from 0 to 2^64 - 1, not “{argument}”.")
    return int(argument)
