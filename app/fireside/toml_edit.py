"""Sets one key in the text of a TOML file and leaves everything else as it stands, comments too. Pure.

Knows tables and keys of a line each; anything cleverer is refused, and the user edits the file. What comes out is read
again and compared, so a wrong guess is never written.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = re.compile(r"\s*\[(?!\[)(?P<name>.*)\]\s*(#.*)?")


class NotEditableError(ValueError):
    """The file is written in a way that this module does not know."""


def set_key(text: str, key: Sequence[str], value: str | bool | int | float | list[str] | None) -> str:
    """`text` with the key set; None removes it. Raises NotEditableError, tomllib.TOMLDecodeError."""
    before = tomllib.loads(text)
    wanted = _changed(before, key, value)
    *table, name = key
    lines = text.splitlines()
    first, last = _section(lines, table)
    if first is None:
        if value is None:
            return text
        lines += [*([""] if lines else []), f"[{_dotted(table)}]", f"{_name(name)} = {_value(value)}"]
    else:
        at = next((at for at in range(first, last) if _key_of(lines[at]) == [name]), None)
        if at is not None:
            lines[at : at + 1] = [] if value is None else [f"{_name(name)} = {_value(value)}"]
        elif value is not None:
            while last > first and not lines[last - 1].strip():
                last -= 1
            lines.insert(last, f"{_name(name)} = {_value(value)}")
    found = "\n".join(lines) + "\n" if lines else ""
    try:
        after = tomllib.loads(found)
    except tomllib.TOMLDecodeError as cause:
        raise NotEditableError(str(cause)) from cause
    if _without_empty(after) != _without_empty(wanted):
        raise NotEditableError(f"{'.'.join(key)} stands there in a way that only you can change")
    return found


def get_key(data: dict[str, Any], key: Sequence[str]) -> Any:
    """The value, or None."""
    at: Any = data
    for name in key:
        at = at.get(name) if isinstance(at, dict) else None
    return at


def split_key(text: str) -> list[str]:
    """A dotted key as TOML writes it. Raises ValueError."""
    found: Any = tomllib.loads(f"{text} = 0")
    parts: list[str] = []
    while isinstance(found, dict):
        [(name, found)] = found.items()
        parts.append(name)
    return parts


def _section(lines: list[str], table: Sequence[str]) -> tuple[int | None, int]:
    """The lines between a table's header and the next one."""
    start = 0 if not table else None
    for at, line in enumerate(lines):
        if header := _HEADER.fullmatch(line):
            if start is not None:
                return start, at
            if _key_of(f"{header['name']} = 0") == list(table):
                start = at + 1
        elif start is not None and line.lstrip().startswith("[["):
            return start, at
    return start, len(lines)


def _key_of(line: str) -> list[str]:
    try:
        found: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return []
    parts: list[str] = []
    while isinstance(found, dict) and len(found) == 1:
        [(name, found)] = found.items()
        parts.append(name)
    return parts


def _changed(data: dict[str, Any], key: Sequence[str], value: object) -> dict[str, Any]:
    copy: dict[str, Any] = dict(data)
    name, *rest = key
    if rest:
        inner = copy.get(name, {})
        if not isinstance(inner, dict):
            raise NotEditableError(f"{name} is no table")
        copy[name] = _changed(inner, rest, value)
    elif value is None:
        copy.pop(name, None)
    else:
        copy[name] = value
    return copy


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    found = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in data.items()}
    return {name: value for name, value in found.items() if value != {}}


def _dotted(parts: Sequence[str]) -> str:
    return ".".join(map(_name, parts))


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: str | bool | int | float | list[str]) -> str:
    # TOML's basic strings have JSON's escapes, but for DEL, which it wants escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
