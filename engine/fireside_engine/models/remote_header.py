"""The header of a model that is still on the hub, as a file: the true first bytes, then a hole of the true size.

Such a skeleton takes a few MiB of the disk and of the network, and everything that reads a header, the dry run of
llama.cpp too, reads it like the model itself. So it can be told before a download whether a model fits this machine.
The network is the caller's: this works with anything that opens files as `models/hub.py` does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from fireside_engine.errors import NotAModel
from fireside_engine.models import disk_space, names
from fireside_engine.models.acquire_store import key_of, require_safe
from fireside_engine.models.gguf import Header, read_header
from fireside_engine.models.gguf_parser import parse
from fireside_engine.models.hub_file import CutOffError, HubFile, HubModel, Listing, Opener

ATTEMPTS = 3
PAUSE = 0.5
KEEP = 64
"""Skeletons that are kept; those not asked for longest go first."""
FOLDER = "headers"


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model without its weights."""

    path: Path
    """Of its first file; it has the name that the model's has."""
    header: Header
    """Of all its files together."""
    fetched: int
    """Bytes that came over the network; 0 when it was known."""


def skeleton(hub: Opener, listing: Listing, model: HubModel, cache: Path) -> Skeleton:
    """The skeleton of a model in a repository, kept in `cache` by the checksums of its files.

    Raises NotAModel, and what the hub raises.
    """
    for file in model.files:
        require_safe(file.name)
    folder = cache / FOLDER / key_of(model.files)
    path = folder / model.files[0].name
    fetched = 0
    try:
        if not path.exists():
            fetched = _make(hub, listing, model, folder)
        os.utime(folder)
    except OSError as error:
        raise disk_space.in_words(error, path) from error
    return Skeleton(path, read_header(path), fetched)


def _make(hub: Opener, listing: Listing, model: HubModel, folder: Path) -> int:
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    fetched = 0
    try:
        for file in model.files:
            window = _Window(hub, listing, file)
            found = parse(window.fetch, file.size, names.clean(file.name))
            with (made / file.name).open("wb") as out:
                out.write(window.data[: found.data_offset])
                out.truncate(file.size)
            fetched += len(window.data)
        # Another process may have made the same meanwhile; its is as good.
        with contextlib.suppress(OSError):
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _prune(folder.parent)
    return fetched


def _prune(folder: Path) -> None:
    kept = sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEEP:]:
        shutil.rmtree(path, ignore_errors=True)


class _Window:
    """The first bytes of a remote file, of which more are fetched as they are asked for."""

    def __init__(self, hub: Opener, listing: Listing, file: HubFile) -> None:
        self.data = b""
        self._hub = hub
        self._listing = listing
        self._file = file

    def fetch(self, length: int) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._extend(length)
                break
            except CutOffError as error:
                if attempt == ATTEMPTS:
                    raise error.error from error
                time.sleep(PAUSE * attempt)
        return self.data[:length]

    def _extend(self, length: int) -> None:
        if length <= len(self.data):
            return
        begin = len(self.data)
        with self._hub.open(self._listing.repo, self._listing.commit, self._file, begin, length) as reply:
            if reply.begin not in (0, begin):
                raise NotAModel(
                    f"The server sends other bytes of {names.clean(self._file.name)} than it was asked for."
                )
            # A server without ranges sends the file from its start.
            parts, count = [self.data[: reply.begin]], reply.begin
            try:
                for chunk in reply.chunks:
                    parts.append(chunk)
                    count += len(chunk)
                    if count >= length:
                        break
            finally:
                found = b"".join(parts)
                self.data = max(self.data, found, key=len)
