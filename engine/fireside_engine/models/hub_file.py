"""What a hub tells of a file before it is fetched: its place, its size, its checksum. Values only, no network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from fireside_engine.errors import FiresideError
from fireside_engine.models import names

_QUANT = re.compile(
    r"(?:^|[-._])(?P<quant>(?:ud-)?(?:i?q\d(?:_[a-z0-9]+)*|tq\d_\d|bf16|f16|f32|mxfp4(?:_moe)?|nvfp4))(?=$|[-.])",
    re.IGNORECASE,
)
_NO_MODEL = ("mmproj", "imatrix")


class Hasher(Protocol):
    """A checksum that grows, as those of hashlib do."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum that the source of a file states."""

    kind: Literal["sha256", "git"]
    """"git" is that of small files which lie in the repository itself: SHA-1 over a head and the bytes."""
    value: str

    def hasher(self, size: int) -> Hasher:
        """A fresh one for a file of `size` bytes."""
        if self.kind == "sha256":
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository."""

    path: str
    """In the repository, with "/"."""
    size: int
    digest: Digest | None
    """None when the hub states none; then nothing can tell whether the bytes are right."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model file of a repository: one file, or all parts of a split one."""

    files: tuple[HubFile, ...]
    """In their order."""

    @property
    def stem(self) -> str:
        return names.stem(self.files[0].name)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def quant(self) -> str:
        """As its name says it, in capitals, e.g. "Q4_K_M"; "" where it says none."""
        return quant_in(self.stem)

    @property
    def path(self) -> str:
        """Of its first file."""
        return self.files[0].path


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit."""

    repo: str
    commit: str
    models: tuple[HubModel, ...]
    """Complete models only, by size."""
    licence: str = ""
    """As the repository states it."""


class CutOffError(Exception):
    """Bytes stopped coming, for a reason that may pass. Trying again is the caller's decision."""

    def __init__(self, error: FiresideError) -> None:
        super().__init__(str(error))
        self.error = error
        """What to tell when trying again did not help."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An open answer with bytes of a file."""

    begin: int
    """Where in the file they begin: 0 when the server does not know ranges."""
    chunks: Iterator[bytes]
    """Raises CutOffError when they stop before their end."""


class Opener(Protocol):
    """What gives bytes of files of a repository: the hub."""

    def open(
        self, repo: str, commit: str, file: HubFile, begin: int = 0, end: int | None = None
    ) -> AbstractContextManager[Reply]:
        """Bytes `begin` to `end` of a file, or fewer. Raises CutOffError when trying again may help."""


def quant_in(stem: str) -> str:
    """The quantization that a file name ends with, or names last; "" where it names none."""
    found = [match["quant"] for match in _QUANT.finditer(stem)]
    return found[-1].upper() if found else ""


def group(files: list[HubFile]) -> tuple[HubModel, ...]:
    """The models among files: GGUFs that are not companions of models, parts together, incomplete ones left out."""
    sets: dict[tuple[str, str, int], dict[int, HubFile]] = {}
    for file in files:
        if not file.name.lower().endswith(names.SUFFIX) or any(word in file.name.lower() for word in _NO_MODEL):
            continue
        number, count = names.shard_of(file.name) or (1, 1)
        sets.setdefault((file.folder, names.stem(file.name), count), {})[number] = file
    models = [
        HubModel(tuple(parts[number] for number in range(1, count + 1)))
        for (_, _, count), parts in sets.items()
        if set(parts) == set(range(1, count + 1))
    ]
    return tuple(sorted(models, key=lambda model: (model.size, model.path)))
