"""Fetches one file into its unfinished form and proves that it is the right one.

The bytes go to the disk as they come, so that an interruption of any kind costs none of them, and through the checksum
on the way. What an earlier attempt left is hashed again and continued. Who calls holds the lock of the download.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from fireside_engine.errors import Overloaded, WrongBytes
from fireside_engine.models import disk_space, names
from fireside_engine.models.gguf_parser import START, check_start
from fireside_engine.models.hub_file import CutOffError, Digest, Hasher, HubFile, Reply

ATTEMPTS = 6
"""Answers in a row that bring next to nothing, before a download is given up."""
WORTH = 64 * 1024
"""Bytes that make an answer worth something."""
PAUSE = 0.5
MAX_PAUSE = 8.0
MAX_WISH = 60.0
"""Seconds that are waited because the server asks for it."""
_BLOCK = 4 * 1024 * 1024

Opener = Callable[[int], AbstractContextManager[Reply]]
"""Opens an answer with the bytes of the file from there on. Raises CutOffError, or a FiresideError that is final."""


class Watcher(Protocol):
    """Hears how far it is."""

    def hashed(self, count: int) -> None:
        """So many bytes of an earlier attempt were hashed again."""

    def fetched(self, count: int) -> None:
        """So many new bytes are there; less than none when some were thrown away."""

    def trouble(self, error: CutOffError, pause: float) -> None:
        """It broke off, and goes on in `pause` seconds."""


def fetch(file: HubFile, partial: Path, opener: Opener, watcher: Watcher) -> None:
    """Make `partial` the whole file, with the right checksum; it may exist in part.

    When all the bytes came and are wrong, they are thrown away and fetched once more, since an earlier attempt may have
    been damaged by a crash of the machine. Raises WrongBytes when they are wrong again, NoSpace, NoConnection, or what
    the opener raises; the partial file stays but for WrongBytes.
    """
    if file.digest is None:
        raise WrongBytes(
            f"The source of {names.clean(file.name)} states no checksum, so nothing could tell whether it is right.",
            hint="Take it from a repository that keeps its models in Git LFS, or download it yourself.",
        )
    for last in (False, True):
        found = _complete(file, file.digest, partial, opener, watcher)
        if found == file.digest.value:
            return
        partial.unlink()
        watcher.fetched(-file.size)
        if last:
            raise WrongBytes(
                f"{names.clean(file.name)} is not the file that its repository describes: its checksum is {found} "
                f"instead of {file.digest.value}.",
                hint="It was fetched twice and thrown away. The server or something on the way to it changes files: "
                "try another network, or HF_ENDPOINT.",
                expected=file.digest.value,
                found=found,
            )


def digest_of(path: Path, digest: Digest, heard: Callable[[int], None]) -> str:
    """The checksum of a whole file, of the kind of `digest`; `heard` is told of each piece. Raises OSError."""
    hasher = digest.hasher(path.stat().st_size)
    with path.open("rb") as source:
        while block := source.read(_BLOCK):
            hasher.update(block)
            heard(len(block))
    return hasher.hexdigest()


def _complete(file: HubFile, digest: Digest, partial: Path, opener: Opener, watcher: Watcher) -> str:
    """Fetch what is missing; gives the checksum of the whole."""
    try:
        with _Target(partial, file, digest, watcher) as target:
            target.take_up()
            idle = 0
            while target.size < file.size:
                before = target.size
                try:
                    with opener(before) as reply:
                        target.seek(reply.begin)
                        for chunk in reply.chunks:
                            target.write(chunk)
                except CutOffError as error:
                    idle = 0 if target.size - before >= WORTH else idle + 1
                    if idle >= ATTEMPTS:
                        raise error.error from error
                    pause = min(MAX_PAUSE, PAUSE * 2.0 ** max(0, idle - 1)) * random.uniform(0.5, 1.0)
                    if isinstance(error.error, Overloaded):
                        pause = max(pause, min(MAX_WISH, error.error.details.get("retry_after", 0)))
                    watcher.trouble(error, pause)
                    time.sleep(pause)
            return target.finish()
    except OSError as error:
        raise disk_space.in_words(error, partial) from error


class _Target:
    """The unfinished file, and the checksum of what is in it."""

    def __init__(self, path: Path, file: HubFile, digest: Digest, watcher: Watcher) -> None:
        self.size = 0
        self._path = path
        self._file = file
        self._digest = digest
        self._watcher = watcher
        self._hasher: Hasher = digest.hasher(file.size)
        self._recheck = 0
        self._out = path.open("ab+", buffering=0)

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def take_up(self) -> None:
        """Hash what is there already. What is longer than the file can only be wrong."""
        if self._out.seek(0, os.SEEK_END) > self._file.size:
            self._out.truncate(0)
        self._out.seek(0)
        while block := self._out.read(_BLOCK):
            self._hasher.update(block)
            self.size += len(block)
            self._watcher.hashed(len(block))

    def seek(self, begin: int) -> None:
        """Be ready for bytes that begin there: where it ends, or at the start of the file."""
        if begin == self.size:
            return
        # The server does not know ranges. What is there is thrown away, because its bytes come again.
        self._out.truncate(0)
        self._watcher.fetched(-self.size)
        self.size, self._hasher = 0, self._digest.hasher(self._file.size)
        if begin:
            raise CutOffError(_foreign(self._file))

    def write(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self._file.size:
            raise CutOffError(_foreign(self._file))
        if self.size >= self._recheck:
            disk_space.require(self._path.parent, self._file.size - self.size)
            self._recheck = self.size + disk_space.RECHECK
        if self.size == 0 and len(chunk) >= START.size:
            # The first bytes tell a web page or an archive from a model, before gigabytes of it are there.
            check_start(chunk[: START.size], self._file.size, names.clean(self._file.name))
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._out.write(rest) :]
        self._hasher.update(chunk)
        self.size += len(chunk)
        self._watcher.fetched(len(chunk))

    def finish(self) -> str:
        os.fsync(self._out.fileno())
        return self._hasher.hexdigest()


def _foreign(file: HubFile) -> WrongBytes:
    return WrongBytes(
        f"The server sends other bytes of {names.clean(file.name)} than it was asked for.",
        hint="A proxy may be in the way: try another network, or HF_ENDPOINT.",
    )
