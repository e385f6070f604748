"""What was learned of this machine and of its model files, on disk: speeds, losses, memory that was not foreseen."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fireside_engine import address
from fireside_engine.core.quality import Quality
from fireside_engine.core.speed import Book, Rate

log = logging.getLogger(__name__)

FILE_NAME = "machine.json"
_MOST = 500
"""Files that are remembered; the ones heard of longest ago are forgotten."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load was expected to take, and took. Bytes."""

    predicted: int
    actual: int
    predicted_devices: int
    """Without the process itself."""
    actual_devices: int


@dataclass(frozen=True, slots=True)
class Learned:
    """The whole file."""

    book: Book = field(default_factory=Book)
    overhead: int = 0
    """Bytes that worker processes took more than foreseen, smoothed."""
    qualities: dict[str, Quality] = field(default_factory=dict)
    """By the identity of a file; measured here."""
    loads: dict[str, Load] = field(default_factory=dict)
    """The last load of each file."""
    made_from: dict[str, str] = field(default_factory=dict)
    """Files that were quantized here, and from which: they carry the loss of their source too."""


def identity(path: Path, size: int, mtime_ns: int) -> str:
    """Of a file as it is now."""
    return f"{path.name}:{size}:{mtime_ns}"


class BookFile:
    """Reads it once, writes every change. Thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or address.data_dir() / FILE_NAME
        self._lock = threading.Lock()
        self._learned = _read(self._path)

    @property
    def learned(self) -> Learned:
        return self._learned

    def change(self, change: Callable[[Learned], Learned]) -> None:
        with self._lock:
            self._learned = _trimmed(change(self._learned))
            try:
                address.make_private(self._path.parent)
                address.write_private(self._path, json.dumps(asdict(self._learned), indent=1))
            except OSError as error:
                log.warning("what was learned of this machine could not be kept: %s", error)

    def keep_load(self, file: str, load: Load, *, settled: bool) -> None:
        """settled: everything is in memory by now, so the process's share of the surprise is added to the next
        prediction, half of it."""

        def change(learned: Learned) -> Learned:
            surprise = (load.actual - load.actual_devices) - (load.predicted - load.predicted_devices)
            overhead = learned.overhead + surprise // 2 if settled else learned.overhead
            bounded = max(-64 * 1024**2, min(1024**3, overhead))
            return replace(learned, overhead=bounded, loads={**_without(learned.loads, file), file: load})

        self.change(change)

    def keep_origin(self, file: str, source: str) -> None:
        def change(learned: Learned) -> Learned:
            return replace(learned, made_from={**_without(learned.made_from, file), file: source})

        self.change(change)

    def keep_quality(self, file: str, quality: Quality) -> None:
        def change(learned: Learned) -> Learned:
            return replace(learned, qualities={**_without(learned.qualities, file), file: quality})

        self.change(change)


def _without(table: dict[str, Any], key: str) -> dict[str, Any]:
    """So that what is put in next is the newest."""
    return {name: value for name, value in table.items() if name != key}


def _trimmed(learned: Learned) -> Learned:
    gains = learned.book.gains
    kept = {name: rate for name, rate in list(gains.items())[-_MOST:] if name} | {"": gains[""]} if gains else {}
    book = replace(learned.book, files=dict(list(learned.book.files.items())[-_MOST:]), gains=kept)
    return replace(
        learned,
        book=book,
        qualities=dict(list(learned.qualities.items())[-_MOST:]),
        loads=dict(list(learned.loads.items())[-_MOST:]),
        made_from=dict(list(learned.made_from.items())[-_MOST:]),
    )


def _read(path: Path) -> Learned:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        book = data["book"]
        return Learned(
            Book(
                {str(name): float(value) for name, value in book["bandwidth"].items()},
                Rate(**book["machine"]),
                {str(name): Rate(**rate) for name, rate in book["types"].items()},
                {str(name): Rate(**rate) for name, rate in book["files"].items()},
                Rate(**book["attention"]),
                {str(name): Rate(**rate) for name, rate in book.get("gains", {}).items()},
            ),
            int(data["overhead"]),
            {str(name): Quality(**quality) for name, quality in data["qualities"].items()},
            {str(name): Load(**load) for name, load in data["loads"].items()},
            {str(name): str(source) for name, source in data["made_from"].items()},
        )
    except FileNotFoundError:
        return Learned()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read and is begun anew: %s", path.name, error)
        return Learned()
