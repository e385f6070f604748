"""Which model files lie in the models folder, from names and sizes alone; nothing is opened.

Folders inside it are searched a few levels deep, because people sort their models; hidden ones are not. A link in the
folder itself is the user's wish and may lead anywhere; a link further down may not lead out of the folder, since it
came with whatever was unpacked there. The parts of a split model are one file here, unfinished downloads are none.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fireside_engine.models import names

MAX_DEPTH = 3
_UNFINISHED = (".part", ".partial", ".incomplete", ".tmp", ".download")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model on disk."""

    path: Path
    """Of a split model, its first part."""
    stem: str
    """File name without suffix and part number."""
    size: int
    """Bytes of all parts that are there."""
    mtime_ns: int
    """Newest of all parts: with `path` and `size` it tells whether the file is still the same."""


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    size: int
    mtime_ns: int


def find_models(folder: Path) -> list[ModelFile]:
    """All model files, those in the folder itself first, then by path. A folder that does not exist has none."""
    groups: dict[tuple[Path, str, int], list[_Found]] = {}
    for found in _walk(folder, folder.resolve(), 0):
        shard = names.shard_of(found.path.name)
        stem = names.stem(found.path.name) if shard else found.path.name
        groups.setdefault((found.path.parent, stem, shard[1] if shard else 0), []).append(found)
    models = [_model(parts) for parts in groups.values()]
    return sorted(models, key=lambda model: (len(model.path.parts), str(model.path).casefold(), str(model.path)))


def stat_model(path: Path) -> ModelFile:
    """The model file at `path`, wherever it lies. Raises OSError when there is none."""
    shard = names.shard_of(path.name)
    parts = [part for part in names.shard_paths(path, shard[1]) if part.is_file()] if shard else []
    infos = [(part, part.stat()) for part in parts or [path]]
    return _model([_Found(part, info.st_size, info.st_mtime_ns) for part, info in infos])


def _model(parts: list[_Found]) -> ModelFile:
    first = min(parts, key=lambda part: part.path.name)
    return ModelFile(
        path=first.path,
        stem=names.stem(first.path.name),
        size=sum(part.size for part in parts),
        mtime_ns=max(part.mtime_ns for part in parts),
    )


def _walk(folder: Path, root: Path, depth: int) -> Iterator[_Found]:
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("the folder %s cannot be searched for models: %s", names.clean(str(folder)), error.strerror)
        return
    for entry in ordered:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < MAX_DEPTH:
                yield from _walk(Path(entry.path), root, depth + 1)
        elif _is_model_name(entry.name) and (info := _stat(entry, root, depth)):
            yield _Found(Path(entry.path), info.st_size, info.st_mtime_ns)


def _is_model_name(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(names.SUFFIX) and not lower.removesuffix(names.SUFFIX).endswith(_UNFINISHED)


def _stat(entry: os.DirEntry[str], root: Path, depth: int) -> os.stat_result | None:
    """Of a regular file that may be used; None for dangling or foreign links, pipes, devices."""
    try:
        if depth and entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root):
            return None
        info = entry.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        _log.warning("%s cannot be used: %s", names.clean(entry.path), type(error).__name__)
        return None
    return info if stat.S_ISREG(info.st_mode) else None
