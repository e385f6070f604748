"""What a pull tells while it works and when it is done, as values that travel as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fireside_engine.core.transfer import Meter
from fireside_engine.models.hub_file import CutOffError
from fireside_engine.models.names import readable_bytes

Stage = Literal["looking", "waiting", "downloading", "checking"]
INTERVAL = 0.2
"""Seconds between two reports at least."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    stage: Stage
    """"looking" at the hub or on this machine; "waiting" for another process that fetches the same; "checking" the
    checksum of bytes that were there already."""
    what: str
    """A file, a repository, or what is waited for."""
    done: int = 0
    total: int = 0
    """Bytes of all files together; 0 where it is not about bytes."""
    rate: float | None = None
    """Bytes per second."""
    seconds_left: float | None = None
    note: str = ""
    """What went wrong and is being tried again."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """What came of it."""

    name: str
    """How the model is called here."""
    path: str
    """Its file; of a split model, the first."""
    size: int
    fetched: int
    """Bytes that came over the network."""
    seconds: float
    """That fetching took."""
    how: Literal["downloaded", "present", "registered"]
    """"present": it was on this machine already; "registered": a file of the user, which now has a name."""
    reason: str
    """One sentence."""
    repo: str = ""
    quant: str = ""
    licence: str = ""
    unconfirmed: str = ""
    """What models.toml says of a source that could not be confirmed."""


def to_event(value: Progress | Acquired) -> dict[str, Any]:
    return {"event": "progress" if isinstance(value, Progress) else "done", **asdict(value)}


class Reporter:
    """Turns bytes into reports, not too many of them."""

    def __init__(self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._meter: Meter | None = None
        self._stage: Stage = "looking"
        self._what = ""
        self._note = ""
        self._reported = float("-inf")
        self._read_again = 0
        self.fetched_bytes = 0
        """That came over the network, thrown away ones too."""

    def look(self, what: str) -> None:
        self._meter = None
        self._stage, self._what, self._note = "looking", what, ""
        self._tell(force=True)

    def begin(self, stage: Stage, what: str, total: int, done: int = 0) -> None:
        """A stage of `total` bytes, of which `done` are there."""
        self._meter = Meter(total, done, self._clock())
        self._stage, self._what, self._note = stage, what, ""
        self._tell(force=True)

    def file(self, name: str) -> None:
        """Which file it is about now."""
        self._what = name
        self._tell(force=True)

    def reach(self, done: int) -> None:
        """So many bytes are there in all."""
        if self._meter:
            self._meter.add(done - self._meter.done, self._clock())
        self._tell()

    # As a watcher of acquire_file.fetch:

    def hashed(self, count: int) -> None:
        if self._stage == "checking":
            if self._meter:
                self._meter.add(count, self._clock())
        else:
            # They count as done already; reading them again takes a while all the same.
            self._read_again += count
            self._note = f"comparing what was fetched before, {readable_bytes(self._read_again)} so far"
        self._tell()

    def fetched(self, count: int) -> None:
        self.fetched_bytes += max(0, count)
        self._note = ""
        if self._meter:
            self._meter.add(count, self._clock())
        self._tell()

    def trouble(self, error: CutOffError, pause: float) -> None:
        self._note = f"{error.error.message} Again in {pause:.0f} s."
        self._tell(force=True)

    def _tell(self, *, force: bool = False) -> None:
        now = self._clock()
        if not force and now - self._reported < INTERVAL:
            return
        self._reported = now
        meter = self._meter
        self._report(
            Progress(
                self._stage,
                self._what,
                meter.done if meter else 0,
                meter.total if meter else 0,
                meter.rate(now) if meter else None,
                meter.seconds_left(now) if meter else None,
                self._note,
            )
        )
