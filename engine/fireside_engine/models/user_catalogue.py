"""Edits the user's own models.toml the way a careful person would: only the lines in question change.

The file belongs to its user, with its comments, order and quotes. So it is changed as text, and the new text is read as
TOML before it is written: when it does not say exactly what was meant, nothing is written and the user is told so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fireside_engine.address import write_private
from fireside_engine.errors import InvalidRequest
from fireside_engine.models import names

_HEADER = re.compile(r"^[ \t]*\[(?P<keys>[^\[\]\n]+)\][ \t]*(?:#.*)?$")
_PLAIN = re.compile(r"[^a-z0-9._-]+")

Tables = dict[str, Any]


def add_model(text: str, name: str, keys: dict[str, str]) -> str:
    """`text` with a table for a model at its end; `keys` are values as TOML writes them. Raises ValueError."""
    block = "\n".join([f"[models.{_quoted(name)}]", *(f"{key} = {value}" for key, value in keys.items())])
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    changed = f"{before}{block}\n"
    wanted = _read(text)
    models = wanted.setdefault("models", {})
    if not isinstance(models, dict) or name in models:
        raise ValueError(f"there is a table models.{name} already")
    models[name] = tomllib.loads("\n".join(f"{key} = {value}" for key, value in keys.items()))
    return _checked(changed, wanted)


def remove_model(text: str, name: str) -> str:
    """`text` without the tables of a model. What stands above and below them stays. Raises ValueError."""
    wanted = _read(text)
    models = wanted.get("models")
    if not isinstance(models, dict) or name not in models:
        raise ValueError(f"there is no table models.{name}")
    del models[name]
    kept: list[str] = []
    tail: list[str] = []  # comments and empty lines at the end of what is left out: they may belong to what follows
    inside = False
    for line in text.splitlines(keepends=True):
        header = _HEADER.match(line.rstrip("\r\n"))
        if header:
            inside = _keys_of(header["keys"])[:2] == ["models", name]
            kept += [] if inside else tail
            tail = []
        if not inside:
            kept.append(line)
        elif not line.strip() or line.lstrip().startswith("#"):
            tail.append(line)
        else:
            tail = []
    changed = "".join(kept + tail)
    if not models:
        # The last model is gone, and with it the table that held it.
        with contextlib.suppress(ValueError):
            return _checked(changed, {key: value for key, value in wanted.items() if key != "models"})
    return _checked(changed, wanted)


class UserCatalogue:
    """The file, edited by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add_path(self, name: str, path: Path) -> str:
        """Give a file on this machine a name for good; returns the name, made fit for the file.

        Raises InvalidRequest when the file cannot be edited.
        """
        fit = _PLAIN.sub("-", names.clean(name).lower()).strip("-._")[:100] or "model"
        source = f'{{ kind = "path", path = {json.dumps(str(path), ensure_ascii=False)} }}'
        with self._locked():
            taken = self.tables().get("models", {})
            candidates = (fit, *(f"{fit}-{number}" for number in range(2, 1000)))
            free = next(candidate for candidate in candidates if candidate not in taken)
            for candidate in candidates:
                if candidate == free:
                    break
                if taken[candidate].get("source") == {"kind": "path", "path": str(path)}:
                    return candidate
            self._edit(
                lambda text: add_model(text, free, {"source": source}), f"[models.{free}] with source = {source}"
            )
        return free

    def remove(self, name: str) -> None:
        """Take a model out. Raises InvalidRequest when it is not there, or cannot be taken out."""
        with self._locked():
            self._edit(lambda text: remove_model(text, name), f"no table [models.{name}]")

    def tables(self) -> Tables:
        """What the file says; nothing where there is none. Raises InvalidRequest."""
        try:
            return _read(self._text())
        except ValueError as error:
            raise InvalidRequest(f"{self.path}: {error}.") from error

    def _edit(self, change: Callable[[str], str], by_hand: str) -> None:
        text = self._text()
        try:
            changed = change(text)
        except ValueError as error:
            raise InvalidRequest(
                f"{self.path} cannot be changed without touching more than was asked: {error}.",
                hint=f"Change it by hand, so that it has {by_hand}.",
            ) from error
        target = self.path.resolve()  # it may be a link into a folder of dotfiles
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        try:
            write_private(target, changed)
            target.chmod(mode)
        except OSError as error:
            raise InvalidRequest(f"{self.path} cannot be written: {error.strerror}.") from error

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self.path}: this is not UTF-8 text.") from error
        except OSError as error:
            raise InvalidRequest(f"{self.path} cannot be read: {error.strerror}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(
                self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise InvalidRequest(f"{self.path.parent} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _read(text: str) -> Tables:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"this is not valid TOML: {error}") from error


def _checked(text: str, wanted: Tables) -> str:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError("its tables are written in a form that this program does not edit") from error
    if found != wanted:
        raise ValueError("its tables are written in a form that this program does not edit")
    return text


def _keys_of(header: str) -> list[str]:
    """The keys of a table's header, e.g. `models."a.b".source`."""
    try:
        found: Any = tomllib.loads(f"[{header}]")
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(found, dict) and found:
        key, found = next(iter(found.items()))
        keys.append(key)
    return keys


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
