"""Files that a message names by `@path`: which words they are, what may complete one, and their texts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fireside.prompt import Material
from fireside.tui.screen_text import on_one_line

MAX_BYTES = 4 * 1024 * 1024
"""No context of a model on a desk holds more."""
BYTES_PER_TOKEN = 4.0
"""Of English text in the vocabularies of today; the engine's own count stands in the answer's account."""
MOST_COMPLETIONS = 40

_NAMED = re.compile(r'(?<!\S)@(?:"(?P<quoted>[^"\n]+)"|(?P<plain>[^\s"]+))')
_BEGUN = re.compile(r'(?<!\S)@(?:"(?P<quoted>[^"\n]*)|(?P<plain>[^\s"]*))$')


class AttachmentError(ValueError):
    """A file that is named cannot be read as text."""


def named(text: str) -> Iterator[Path]:
    """The files that a message names; a word with an @ that is no file is a word."""
    seen: set[Path] = set()
    for match in _NAMED.finditer(text):
        word = match["quoted"] or match["plain"]
        for candidate in dict.fromkeys((word, word.rstrip(".,;:!?)"))):
            path = Path(candidate).expanduser()
            if _is_file(path):
                if path not in seen:
                    seen.add(path)
                    yield path
                break


def read(text: str) -> tuple[Material, ...]:
    """The texts of the files that a message names. Raises AttachmentError with words for the user."""
    return tuple(Material(str(path), _read(path)) for path in named(text))


def begun(text: str) -> str | None:
    """The path that is being typed at the end of a text; None where there is none."""
    match = _BEGUN.search(text)
    return None if match is None else match["quoted"] if match["quoted"] is not None else match["plain"]


def completions(typed: str) -> list[str]:
    """Paths that what was typed may become; folders end with a slash."""
    folder, _, start = typed.rpartition("/")
    where = Path(f"{folder}/" if typed.startswith("/") or folder else ".").expanduser()
    try:
        with os.scandir(where) as entries:
            found = [
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.lower().startswith(start.lower()) and (start.startswith(".") or entry.name[0] != ".")
            ]
    except OSError:
        return []
    before = f"{folder}/" if "/" in typed else ""
    return [f"{before}{name}" for name in sorted(found, key=str.lower)[:MOST_COMPLETIONS]]


def completed(text: str, paths: list[str]) -> str:
    """`text` with the path that is being typed grown to what all of these begin with, or to the first one."""
    match = _BEGUN.search(text)
    if match is None or not paths:
        return text
    path = paths[0]
    while not all(other.startswith(path) for other in paths):
        path = path[:-1]
    if len(path) <= len(begun(text) or ""):
        path = paths[0]
    mark = '"' if any(char.isspace() for char in path) else ""
    is_whole = path in paths and not path.endswith("/")
    return f"{text[: match.start()]}@{mark}{path}" + (f"{mark} " if is_whole else "")


def about_tokens(text: str) -> int:
    """Roughly, until a model has counted them."""
    return max(1, round(len(text.encode(errors="replace")) / BYTES_PER_TOKEN))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path) -> str:
    name = on_one_line(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise AttachmentError(f"{name} cannot be read: {cause.strerror}.") from cause
    if len(data) > MAX_BYTES:
        raise AttachmentError(f"{name} is larger than {MAX_BYTES // 1024**2} MiB.")
    if b"\0" in data:
        raise AttachmentError(f"{name} is no text.")
    return data.decode("utf-8-sig", errors="replace")
