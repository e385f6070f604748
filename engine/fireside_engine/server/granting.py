"""Leave to load a model: what the supervisor asks a planner, and what it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from fireside_engine.core.footprint import Footprint, Setup
from fireside_engine.worker.protocol import LoadOptions, ModelInfo

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to load a file, in this way."""

    options: LoadOptions
    """With everything chosen."""
    footprint: Footprint
    setup: Setup
    reason: str = ""
    """Why it is loaded so, in one sentence."""
    draft: bool = False
    """The draft model has room besides; its bytes are in the footprint."""
    note: str = ""
    """What the user should know of it: that it is forced, or smaller than planned."""


class Planner(Protocol):
    """What the supervisor asks."""

    def plan(
        self,
        path: Path,
        options: LoadOptions,
        free_more: Mapping[str, int] = NOTHING,
        *,
        force: bool = False,
        draft: Path | None = None,
    ) -> Grant:
        """free_more: bytes to count as free besides, by device, negative for what is promised already; force:
        load it even where it should not fit; draft: a model that would draft for it, `Grant.draft` says whether there
        is room for both.

        Raises InsufficientMemory with what is missing and what would help.
        """
        ...

    def lower(self, path: Path, grant: Grant) -> Grant | None:
        """The next smaller way, after an allocation failed."""
        ...

    def loaded(self, path: Path, grant: Grant, info: ModelInfo) -> str:
        """Learn from a load; returns a sentence when it took what nobody expected, or ""."""
        ...

    def answered(self, path: Path, grant: Grant, seconds_per_token: float, filled: int, gain: float = 1.0) -> None:
        """Learn from an answer that had the machine to itself. seconds_per_token: without drafts; gain: how many times
        as fast they made it."""
        ...

    def settled(self, path: Path, grant: Grant, info: ModelInfo, resident: int) -> None:
        """Learn from the bytes of a worker that has answered."""
        ...
