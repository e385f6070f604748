"""Completion scripts for shells, generated from the parsers. They run no Python at a press of tab."""

from __future__ import annotations

from collections.abc import Callable

from fireside.cli import COMMANDS
from fireside.parsers import OptionHelp, options_of, parser_of

_FILES = ("FILE", "TEXT|@FILE", "SCHEMA", "MODEL", "PATH", "FILE.gguf")


def bash() -> str:
    cases = []
    for command, options in _all().items():
        flags = " ".join(flag for option in options for flag in option.flags)
        values = "".join(
            f'      {"|".join(option.flags)}) COMPREPLY=($(compgen {_bash_values(option)} -- "$word")); return;;\n'
            for option in options
            if option.flags and option.metavar
        )
        words = " ".join(choice for option in options if not option.flags for choice in option.choices)
        cases.append(
            f'    {command})\n      case "$before" in\n{values}      esac\n'
            f'      if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "{flags}" -- "$word"));\n'
            f'      else COMPREPLY=($(compgen -f -W "{words}" -- "$word")); fi;;\n'
        )
    return (
        "_fireside() {\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"\n'
        "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
        f'    COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word")); return\n'
        "  fi\n"
        '  case "${COMP_WORDS[1]}" in\n' + "".join(cases) + "  esac\n}\n"
        "complete -o filenames -F _fireside fireside\n"
    )


def zsh() -> str:
    commands = "".join(f"    {_quoted(f'{name}:{command.sentence}')}\n" for name, command in COMMANDS.items())
    cases = []
    for command, options in _all().items():
        lines = []
        for option in options:
            value = f":{_zsh(option.metavar)}:{_zsh_values(option)}" if option.metavar else ""
            if option.flags:
                # zsh repeats an option only where a star says so.
                lines += [_quoted(f"*{flag}[{_zsh(option.text)}]{value}") for flag in option.flags]
            else:
                lines.append(_quoted(f"*:{_zsh(option.metavar)}:{_zsh_values(option)}"))
        cases.append(f"    {command}) _arguments {' '.join(lines)};;\n")
    return (
        "#compdef fireside\n_fireside() {\n  local -a commands\n  commands=(\n" + commands + "  )\n"
        "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
        "  local command=$words[2]\n  shift words; (( CURRENT-- ))\n"
        "  case $command in\n" + "".join(cases) + '  esac\n}\n_fireside "$@"\n'
    )


def fish() -> str:
    lines = ["complete -c fireside -f"]
    for name, known in COMMANDS.items():
        lines.append(f"complete -c fireside -n __fish_use_subcommand -a {name} -d {_quoted(known.sentence)}")
    for command, options in _all().items():
        for option in options:
            where = f"complete -c fireside -n '__fish_seen_subcommand_from {command}'"
            names = "".join(f" -l {f[2:]}" if f.startswith("--") else f" -s {f[1:]}" for f in option.flags)
            needs = " -r" if option.metavar and option.flags else ""
            values = f" -a {_quoted(' '.join(option.choices))}" if option.choices else ""
            files = " -F" if option.metavar in _FILES else ""
            if names or values or files:
                lines.append(f"{where}{names}{needs}{values}{files} -d {_quoted(option.text)}")
    return "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _all() -> dict[str, list[OptionHelp]]:
    return {command: options_of(parser_of(command)) for command in COMMANDS}


def _bash_values(option: OptionHelp) -> str:
    if option.choices:
        return f'-W "{" ".join(option.choices)}"'
    return "-f" if option.metavar in _FILES else '-W ""'


def _zsh_values(option: OptionHelp) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    return "_files" if option.metavar in _FILES else " "


def _zsh(text: str) -> str:
    """Without what `_arguments` would read as its own."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
