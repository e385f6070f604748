"""Removes a model: what fireside fetched or its owner put into the models folder, or the name of a file elsewhere.

Files that lie elsewhere are never removed: they belong to somebody, or to another program.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fireside_engine.errors import InvalidRequest
from fireside_engine.models.acquire_store import forget, remove, remove_empty, unfinished
from fireside_engine.models.catalogue import Catalogue, Entry
from fireside_engine.models.inventory import FOREIGN
from fireside_engine.models.names import clean
from fireside_engine.models.other_stores import advice
from fireside_engine.models.user_catalogue import UserCatalogue


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed."""

    name: str
    freed: int
    """Bytes on the disk."""
    kept: str = ""
    """A file that stays, because only its name was ours."""


def require_removable(entry: Entry, catalogue: Catalogue, user: UserCatalogue) -> None:
    """Raises InvalidRequest, with the way that there is, when a model is not ours to remove."""
    if entry.source in FOREIGN:
        raise InvalidRequest(f"{entry.name} belongs to another program.", hint=advice(entry.source, entry.name))
    if _lies_in(entry.path, catalogue.models_dir) or _user_name(entry, user):
        return
    if entry.source == "registered":
        raise InvalidRequest(
            f"{entry.name} is only known while the engine runs; its file {clean(str(entry.path))} is yours.",
            hint="`fireside stop` makes the engine forget it.",
        )
    raise InvalidRequest(
        f"{entry.name} lies outside the models folder: {clean(str(entry.path))}.",
        hint="It came with a Python package: `pip uninstall` removes it with that."
        if "site-packages" in entry.path.parts
        else "Take it out of models.toml.",
    )


def remove_model(entry: Entry, catalogue: Catalogue, user: UserCatalogue) -> Removed:
    """Raises InvalidRequest when it is not ours to remove, or cannot be removed."""
    require_removable(entry, catalogue, user)
    try:
        if _lies_in(entry.path, catalogue.models_dir):
            freed = remove(entry.path)
            remove_empty(entry.path.parent, catalogue.models_dir)
            return Removed(entry.name, freed)
    except OSError as error:
        raise InvalidRequest(f"{entry.path} cannot be removed: {error.strerror}.") from error
    user.remove(_user_name(entry, user))
    catalogue.refresh()
    return Removed(entry.name, 0, str(entry.path))


def remove_unfinished(models_dir: Path) -> tuple[list[Removed], list[str]]:
    """(what was removed of unfinished downloads, the names of those that run now). Raises InvalidRequest."""
    removed, busy = [], []
    for download in unfinished(models_dir):
        if download.busy:
            busy.append(download.name)
            continue
        try:
            forget(download)
        except OSError as error:
            raise InvalidRequest(f"{download.path} cannot be removed: {error.strerror}.") from error
        removed.append(Removed(download.name, download.done))
    return removed, busy


def _lies_in(path: Path, folder: Path) -> bool:
    """By its name: a link in the folder is the folder's, wherever it leads."""
    return path.is_relative_to(folder)


def _user_name(entry: Entry, user: UserCatalogue) -> str:
    """The name under which the user's models.toml has this file; "" when it has not."""
    for name, table in user.tables().get("models", {}).items():
        source = table.get("source") if isinstance(table, dict) else None
        if isinstance(source, dict) and source.get("kind") == "path":
            path = Path(str(source.get("path", ""))).expanduser().absolute()
            if path == entry.path:
                return str(name)
    return ""
