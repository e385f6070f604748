"""Every operation on files, in one place: so that tests can make each of them fail, or the process die before it.

Nothing is synced: a file that a power failure tears fails its hash, and that is a miss. Directories are 0700, files
0600. Raises OSError as the system does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fireside_engine.kv_cache.record import Payload

_CHUNK = 4 * 1024 * 1024
"""Written at once."""
_FLAGS = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Disk:
    def before(self, operation: str, path: Path) -> None:
        """Called before each operation that changes or reads a file."""

    def make_directory(self, path: Path) -> None:
        """And those above it, for their owner alone."""
        if path.is_dir():
            return
        self.before("mkdir", path)
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            self.make_directory(path.parent)
            path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path, parts: Sequence[Payload]) -> None:
        """Write a new file. Raises FileExistsError if there is one."""
        self.before("open", path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            for part in parts:
                left = memoryview(part).cast("B")
                while left:
                    self.before("write", path)
                    left = left[os.write(descriptor, left[:_CHUNK]) :]
            self.before("close", path)
        finally:
            os.close(descriptor)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace the first bytes of a file."""
        self.before("overwrite", path)
        descriptor = os.open(path, os.O_WRONLY | _FLAGS)
        try:
            if os.pwrite(descriptor, data, 0) != len(data):
                raise OSError(errno.EIO, "a short write", str(path))
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """A directory that somebody put in the place of the target gives way."""
        self.before("rename", target)
        try:
            source.replace(target)
        except IsADirectoryError:
            self.remove_tree(target)
            source.replace(target)

    def remove(self, path: Path) -> bool:
        """A file, or a directory that somebody put in the place of one; False if there was nothing."""
        self.before("unlink", path)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except (IsADirectoryError, PermissionError):
            # What unlink says of a directory depends on the system.
            if not path.is_dir() or path.is_symlink():
                raise
            self.remove_tree(path)
        return True

    def open(self, path: Path) -> int:
        """A descriptor for reading."""
        self.before("open", path)
        return os.open(path, os.O_RDONLY | _FLAGS)

    def read(self, descriptor: int, length: int, offset: int, path: Path) -> memoryview:
        """Up to `length` bytes; fewer where the file ends."""
        self.before("read", path)
        buffer = np.empty(length, dtype=np.uint8).data
        done = 0
        while done < length:
            got = os.preadv(descriptor, [buffer[done:]], offset + done)
            if not got:
                break
            done += got
        return buffer[:done]

    def size(self, path: Path) -> int | None:
        """Bytes; None if there is no such file."""
        self.before("stat", path)
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def space(self, path: Path) -> tuple[int, int]:
        """Bytes of the file system: what this user may still write, and all."""
        self.before("statvfs", path)
        info = os.statvfs(path)
        return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize

    def names(self, path: Path) -> list[str]:
        """Of the entries of a directory; none if there is no such directory."""
        self.before("list", path)
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 - names are what is wanted
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove_tree(self, path: Path) -> int:
        """Remove a directory and all that is in it; how many bytes its files had."""
        total = 0
        for name in self.names(path):
            inner = path / name
            if inner.is_dir() and not inner.is_symlink():
                total += self.remove_tree(inner)
            else:
                total += inner.lstat().st_size
                self.remove(inner)
        self.before("rmdir", path)
        path.rmdir()
        return total


class Layout:
    """Where what lies in the directory of the store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blocks = directory / "blocks"
        self.temporary = directory / "tmp"
        self.index_lock = directory / "index.lock"

    def file(self, kind: int, key: bytes) -> Path:
        name = key.hex()
        return self.blocks / name[:2] / f"{name}.{_SUFFIXES[kind]}"

    def all_files(self, disk: Disk) -> Iterator[Path]:
        """Whatever lies where records lie."""
        for folder in disk.names(self.blocks):
            for name in disk.names(self.blocks / folder):
                yield self.blocks / folder / name

    def parse(self, path: Path) -> tuple[int, bytes] | None:
        """Kind and key, if a record may have this path."""
        stem, _, suffix = path.name.partition(".")
        try:
            key = bytes.fromhex(stem)
        except ValueError:
            return None
        if suffix not in _SUFFIXES:
            return None
        kind = _SUFFIXES.index(suffix)
        return (kind, key) if self.file(kind, key) == path else None


_SUFFIXES = ("rows", "state")
"""By kind."""
