"""`app.toml`: what the user decides for the chat and the command line. The engine has `config.toml` for itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fireside.arguments import did_you_mean
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside_engine import address

FILE = "app.toml"


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The whole file; every key may be missing."""

    save: bool = True
    """Whether conversations are kept."""
    theme: str = ""
    """Of the chat; empty suits the terminal."""
    vim: bool = False
    """Whether esc leaves the prompt for the messages, as in vim."""
    tint: bool = False
    """Whether answers are shown as they were written, with what was drafted and accepted tinted."""
    keys: dict[str, str] = field(default_factory=dict)
    """Keys of the chat by the name of what they do, e.g. `chat.new = "ctrl+k"`."""
    personas: dict[str, str] = field(default_factory=dict)
    """System prompts by name, each a text or `@FILE`."""

    def persona(self, name: str) -> str:
        """The text, or `@FILE`, of a persona. Raises Failure."""
        if name in self.personas:
            return self.personas[name]
        hint = did_you_mean(name, self.personas) or f"fireside config set personas.{name} 'You are …'"
        raise Failure(f"There is no persona {name}.", ExitCode.USAGE, hint=hint, code="unknown_persona")


def path() -> Path:
    return address.config_dir() / FILE


def load() -> AppSettings:
    """Raises Failure that names file and key."""
    file = path()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return AppSettings()
    except (OSError, UnicodeDecodeError) as cause:
        raise _invalid(file, f"it cannot be read: {cause}") from cause
    import tomllib

    try:
        return read(tomllib.loads(text))
    except ValueError as cause:
        raise _invalid(file, str(cause)) from cause


def save(name: str, value: bool | str) -> None:
    """Remember one key; the rest of the file stays as it stands. Raises Failure."""
    from fireside import toml_edit

    file = path()
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        changed = toml_edit.set_key(text, [name], value)
        file.parent.mkdir(parents=True, exist_ok=True)
        address.write_private(file, changed)
    except (OSError, ValueError) as cause:
        raise _invalid(file, f"{name} cannot be kept: {cause}") from cause


def read(data: dict[str, Any]) -> AppSettings:
    """Raises ValueError with words for the user."""
    known: dict[str, type] = {"save": bool, "theme": str, "vim": bool, "tint": bool, "keys": dict, "personas": dict}
    for name, value in data.items():
        if name not in known:
            raise ValueError(f"the key {name} is unknown. {did_you_mean(name, known)}".strip())
        if not isinstance(value, known[name]):
            raise ValueError(f"{name} is {_WORDS[known[name]]}")
    values = {**data, "keys": _flat(data.get("keys", {})), "personas": _flat(data.get("personas", {}))}
    return AppSettings(**values)


_WORDS = {bool: "true or false", str: "a text", dict: "a table"}


def _flat(table: dict[str, Any], before: str = "") -> dict[str, str]:
    """`chat.new = "…"` is a table in a table to TOML."""
    found: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        elif isinstance(value, str):
            found[f"{before}{name}"] = value
        else:
            raise ValueError(f"{before}{name} is a text")
    return found


def _invalid(file: Path, words: str) -> Failure:
    return Failure(f"{file}: {words}.", ExitCode.USAGE, code="invalid_settings")
