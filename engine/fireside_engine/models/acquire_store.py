"""Where downloads lie: unfinished ones hidden, finished ones as models, and which is which at any moment of a crash.

    models/.pull/KEY/            an unfinished download; discovery does not look into hidden folders
        plan.json                what it is to become
        NAME.gguf.incomplete     being fetched
        NAME.gguf                complete, checksum compared; waits for the other parts
    models/.pull/KEY.lock        held with flock by the process that fetches it
    models/OWNER/REPO/NAME.gguf  a model
    models/OWNER/REPO/STEM/…     a split model: the folder is put there as a whole
    models/OWNER/REPO/.NAME.gguf.origin.json   where it came from

KEY is made of the checksums of the files, so that everything that wants the same bytes meets at one place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fireside_engine.address import write_private
from fireside_engine.errors import InvalidRequest, NotAModel
from fireside_engine.models import names
from fireside_engine.models.hub_file import HubFile, HubModel

FOLDER = ".pull"
INCOMPLETE = ".incomplete"
_SAFE = re.compile(r"[A-Za-z0-9][\w.+()=@ -]{0,200}")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A download that was begun."""

    name: str
    path: Path
    """Its folder."""
    done: int
    total: int
    busy: bool
    """Whether a process fetches it now."""


class Staging:
    """The place of one download."""

    def __init__(self, models_dir: Path, model: HubModel, repo: str, commit: str) -> None:
        """Raises NotAModel when the repository's names could lead out of the models folder."""
        self._root = models_dir / FOLDER
        self._models_dir = models_dir
        self.model = model
        self._origin = {"repo": repo, "commit": commit, "files": [_as_json(file) for file in model.files]}
        self.folder = self._root / key_of(model.files)
        self.is_split = len(model.files) > 1
        for part in (*repo.split("/"), *(file.name for file in model.files)):
            require_safe(part)
        place = models_dir.joinpath(*repo.split("/"))
        inner = model.files[0].folder.rpartition("/")[2]
        if self.is_split:
            place /= model.stem
        elif _SAFE.fullmatch(inner):
            place /= inner
        self.final = place / model.files[0].name
        """Where the first file will be."""

    def incomplete(self, file: HubFile) -> Path:
        return self.folder / f"{file.name}{INCOMPLETE}"

    def complete(self, file: HubFile) -> Path:
        return self.folder / file.name

    def is_complete(self, file: HubFile) -> bool:
        """Whether it was fetched and compared: only then it has its name."""
        path = self.complete(file)
        return path.is_file() and path.stat().st_size == file.size

    def finish(self, file: HubFile) -> None:
        """It has been compared."""
        self.incomplete(file).replace(self.complete(file))

    @property
    def done(self) -> int:
        """Bytes that are there, as far as another process can tell."""
        return sum(_size(self.complete(file)) or _size(self.incomplete(file)) for file in self.model.files)

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(self.folder / "plan.json", json.dumps(self._origin))

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether the download is ours now; False while another process has it. Freed by the kernel, however we end."""
        path = self.folder.with_suffix(".lock")
        self._root.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            # Whoever had it before may have finished and removed the file that we opened.
            ours = _is(handle, path)
            try:
                yield ours
            finally:
                if ours and not self.folder.exists():
                    path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def is_ours(self) -> bool:
        """Whether the final file is this very download, by what was written when it came."""
        origin = read_origin(self.final)
        return (
            origin is not None
            and origin.get("files") == self._origin["files"]
            and all(_size(self.final.with_name(file.name)) == file.size for file in self.model.files)
        )

    def adopt(self) -> None:
        """The file at its place was compared: from now on it is known to be this download."""
        write_private(_origin_path(self.final), json.dumps(self._origin, indent=1))

    def require_free(self) -> None:
        """Raises InvalidRequest when something that is not ours lies where the model would."""
        if self.final.exists() and read_origin(self.final) is None:
            raise InvalidRequest(
                f"{self.final} is another file of that name.",
                hint="Move it away or remove it, then give the same command again.",
            )

    def publish(self) -> Path:
        """Make it a model, in one step; an earlier version is replaced. Returns its first file."""
        origin = json.dumps(self._origin, indent=1)
        place = self.final.parent
        if self.is_split:
            place.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "plan.json").unlink(missing_ok=True)
            write_private(_origin_path(self.folder / self.final.name), origin)
            if place.exists():
                old = self.folder.with_suffix(".old")
                shutil.rmtree(old, ignore_errors=True)
                place.rename(old)
                self.folder.rename(place)
                shutil.rmtree(old)
            else:
                self.folder.rename(place)
            _sync(place.parent)
        else:
            place.mkdir(parents=True, exist_ok=True)
            self.complete(self.model.files[0]).replace(self.final)
            write_private(_origin_path(self.final), origin)
            _sync(place)
            shutil.rmtree(self.folder)
        return self.final

    def discard(self) -> None:
        """What was fetched is no model."""
        shutil.rmtree(self.folder)


def key_of(files: Iterable[HubFile]) -> str:
    """A name for everything that wants the same bytes."""
    digests = "\n".join(f"{file.size} {file.digest and file.digest.value}" for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()[:32]


def require_safe(name: str) -> None:
    """Raises NotAModel when a name of a stranger is not fit for a file here."""
    if not _SAFE.fullmatch(name):
        raise NotAModel(f"{names.clean(name)} is no name that a model file may have here.")


def read_origin(path: Path) -> dict[str, Any] | None:
    """Where a model file came from: repo, commit, files with sizes and checksums. None where nothing says so."""
    try:
        found = json.loads(_origin_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def remove(path: Path) -> int:
    """Remove a model of the models folder, all its parts, and what was written of its origin. Returns bytes freed.

    The first part goes first: without it the others are no model. Raises OSError.
    """
    shard = names.shard_of(path.name)
    parts = names.shard_paths(path, shard[1]) if shard else (path,)
    freed = 0
    for part in parts:
        if part.exists() or part.is_symlink():
            freed += 0 if part.is_symlink() else part.stat().st_size
            part.unlink()
    _origin_path(path).unlink(missing_ok=True)
    return freed


def remove_empty(folder: Path, models_dir: Path) -> None:
    """Remove folders that hold nothing any more, up to the models folder."""
    while folder != models_dir and folder.is_relative_to(models_dir):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if folder.exists():
            return
        folder = folder.parent


def unfinished(models_dir: Path) -> list[Unfinished]:
    """Downloads that were begun and not finished."""
    found = []
    for plan in sorted((models_dir / FOLDER).glob("*/plan.json")):
        try:
            files = [(str(file["name"]), int(file["size"])) for file in json.loads(plan.read_text("utf-8"))["files"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        folder = plan.parent
        done = sum(_size(folder / name) or _size(folder / f"{name}{INCOMPLETE}") for name, _ in files)
        total = sum(size for _, size in files)
        found.append(Unfinished(names.clean(names.stem(files[0][0])), folder, done, total, _is_locked(folder)))
    return found


def forget(download: Unfinished) -> None:
    """Throw away what an unfinished download has so far. Raises OSError."""
    shutil.rmtree(download.path)
    download.path.with_suffix(".lock").unlink(missing_ok=True)


def _is_locked(folder: Path) -> bool:
    try:
        handle = os.open(folder.with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _origin_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.origin.json")


def _as_json(file: HubFile) -> dict[str, Any]:
    digest = f"{file.digest.kind}:{file.digest.value}" if file.digest else ""
    return {"name": file.name, "path": file.path, "size": file.size, "digest": digest}


def _size(path: Path) -> int:
    """0 when it is not there, which it may be at any time."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _sync(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
