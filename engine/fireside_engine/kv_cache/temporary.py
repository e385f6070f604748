"""A directory for unfinished files that belongs to one process, and how those of dead processes are known.

A lock on a file beside the directory lives as long as the process: whoever can take it knows that the owner is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from fireside_engine.kv_cache.disk import Disk

_LOCK = ".lock"


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock of its own file; yields False where `wait` is off and somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


class Temporary:
    """Makes its directory when it is first needed, and again when somebody removed it."""

    def __init__(self, parent: Path, disk: Disk) -> None:
        self._parent = parent
        self._disk = disk
        self._directory: Path | None = None
        self._lock: int | None = None
        self._count = 0

    def new(self) -> Path:
        """A path for a new file."""
        if self._directory is None or not self._directory.is_dir():
            self._directory = self._make()
        self._count += 1
        return self._directory / f"{self._count}"

    def close(self) -> None:
        """Remove what is left, and the directory."""
        if self._lock is None or self._directory is None:
            return
        with contextlib.suppress(OSError):
            if self._directory.is_dir():
                self._disk.remove_tree(self._directory)
            self._disk.remove(_lock_of(self._directory))
        self.abandon()

    def abandon(self) -> None:
        """Leave everything as a dying process would."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._directory = None

    def _make(self) -> Path:
        self.abandon()
        self._disk.make_directory(self._parent)
        while True:
            directory = self._parent / f"{os.getpid()}-{secrets.token_hex(8)}"
            self._disk.before("open", _lock_of(directory))
            lock = os.open(_lock_of(directory), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A sweep may have seen the file before it was locked, and removed it.
                if _is_at(lock, _lock_of(directory)):
                    self._disk.make_directory(directory)
                    self._lock = lock
                    return directory
            except BlockingIOError:
                pass
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)


def sweep(parent: Path, disk: Disk) -> int:
    """Remove what dead processes left; how many bytes that were."""
    total = 0
    names = disk.names(parent)
    for name in (name for name in names if name.endswith(_LOCK)):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(parent / name, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, parent / name):
                    if (directory := parent / name.removesuffix(_LOCK)).is_dir():
                        total += disk.remove_tree(directory)
                    disk.remove(parent / name)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)
    # A living process locks before it makes its directory, so one without a lock is nobody's.
    for name in names:
        if not name.endswith(_LOCK) and not (parent / (name + _LOCK)).exists() and (parent / name).is_dir():
            total += disk.remove_tree(parent / name)
    return total


def _lock_of(directory: Path) -> Path:
    return directory.with_name(directory.name + _LOCK)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
