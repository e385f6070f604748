"""All models of the engine, and the memory they share.

Before a model is loaded, it is planned (server/planning.py) and memory is made for it: idle models leave, the one
unused for longest first. What models that are loading at this moment will still take is set aside for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from fireside_engine import errors
from fireside_engine.core.footprint import HOST, Footprint
from fireside_engine.hardware import memory
from fireside_engine.server.granting import Grant, Planner
from fireside_engine.server.resident import ModelKey, Resident
from fireside_engine.server.settings import Settings
from fireside_engine.worker.protocol import LoadOptions

log = logging.getLogger(__name__)


class Loadable(Protocol):
    """What of a catalogue entry matters here."""

    @property
    def name(self) -> str: ...
    @property
    def own_name(self) -> str: ...
    @property
    def path(self) -> Path: ...


class Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._planner = settings.planner()
        self._residents: dict[ModelKey, Resident] = {}
        self._room = asyncio.Lock()
        self._promised: dict[ModelKey, Footprint] = {}
        """What loading models were granted."""

    @property
    def planner(self) -> Planner:
        return self._planner

    @property
    def residents(self) -> list[Resident]:
        """Those that are loading, loaded, or went down."""
        return [resident for resident in self._residents.values() if resident.state != "unloaded"]

    @property
    def loading(self) -> bool:
        return any(resident.state == "loading" for resident in self._residents.values())

    def latest(self) -> Resident | None:
        """The model that was loaded last and still is."""
        ready = [resident for resident in self._residents.values() if resident.state == "ready"]
        return max(ready, key=lambda resident: resident.ready_at, default=None)

    def resident(
        self, entry: Loadable, options: LoadOptions, find_draft: Callable[[], Path | None] | None = None
    ) -> Resident:
        """The resident of this file as it is now. find_draft: what may draft for it, asked when it is loaded.

        Raises ModelNotFound when the file is gone."""
        path = str(entry.path)
        try:
            modified = entry.path.stat().st_mtime_ns
        except OSError as error:
            message = f"The file of {entry.name} cannot be read: {error.strerror}."
            raise errors.ModelNotFound(message, model=entry.name) from error
        key = ModelKey(path, modified, options)
        if (found := self._residents.get(key)) is not None:
            return found
        self._forget(path, modified)
        made = self._residents[key] = Resident(
            key, entry.own_name, self._settings, self._planner, self._make_room, find_draft
        )
        return made

    def named(self, name: str) -> list[Resident]:
        """The residents of a name, which may be gone from the catalogue by now."""
        return [resident for resident in self.residents if resident.name.casefold() == name.casefold()]

    def of_file(self, path: Path) -> list[Resident]:
        return [resident for resident in self.residents if resident.key.path == str(path)]

    async def close(self, *, now: bool) -> None:
        """End all processes."""
        residents = list(self._residents.values())
        if now:
            await asyncio.gather(*(resident.kill() for resident in residents))
        await asyncio.gather(*(resident.unload() for resident in residents))

    def _forget(self, path: str, modified: int) -> None:
        """Let go of what was in a file before it was replaced."""
        for key, resident in list(self._residents.items()):
            if key.path == path and key.modified_ns != modified:
                resident.retire()
            if resident.retired and resident.outstanding == 0 and resident.state in ("unloaded", "failed"):
                del self._residents[key]

    async def _make_room(self, resident: Resident) -> Grant:
        """Unload idle models until this one fits with as much context as it could have without them."""
        async with self._room:
            self._promised.pop(resident.key, None)
            await asyncio.gather(*(other.departed() for other in self._residents.values() if other is not resident))
            while True:
                idle = [r for r in self._residents.values() if r.idle and r.state == "ready"]
                grant = await self._grant(resident, {}, refuse=not idle)
                if grant is not None and idle:
                    ideal = await self._grant(resident, _held(idle), refuse=False)
                    if ideal is None or _as_good(grant, ideal):
                        break
                elif grant is not None:
                    break
                oldest = min(idle, key=lambda r: r.last_used)
                log.info("%s makes room for %s", oldest.name, resident.name)
                await oldest.unload()
            self._promised = {k: n for k, n in self._promised.items() if self._is_loading(k)}
            self._promised[resident.key] = grant.footprint
            return grant

    async def _grant(self, resident: Resident, more: Mapping[str, int], *, refuse: bool) -> Grant | None:
        """None where it does not fit and `refuse` is not asked for. Raises InsufficientMemory.

        more: bytes to count as free besides, by device.
        """
        path, options = Path(resident.key.path), resident.key.options
        force = resident.force and refuse
        reserved = self._reserved()
        free = {name: more.get(name, 0) - reserved.get(name, 0) for name in {*more, *reserved}}
        draft = await resident.draft()
        try:
            return await asyncio.to_thread(self._planner.plan, path, options, free, force=force, draft=draft)
        except errors.InsufficientMemory:
            if refuse:
                raise
            return None

    def _reserved(self) -> dict[str, int]:
        """What loading models were promised and do not have yet, by device; what they have of a GPU is not known."""
        reserved: dict[str, int] = {}
        for key, promised in self._promised.items():
            if self._is_loading(key):
                handle = self._residents[key].handle
                had = memory.rss(handle.pid) if handle is not None else 0
                for name in {HOST, *promised.device_names}:
                    left = promised.need(name) - (had if name == HOST else 0)
                    reserved[name] = reserved.get(name, 0) + max(0, left)
        return reserved

    def _is_loading(self, key: ModelKey) -> bool:
        resident = self._residents.get(key)
        return resident is not None and resident.state == "loading"


def _held(residents: Iterable[Resident]) -> dict[str, int]:
    """Bytes that these models would give back, by device."""
    held: dict[str, int] = {}
    for resident in residents:
        if resident.handle is not None:
            held[HOST] = held.get(HOST, 0) + memory.rss(resident.handle.pid)
        for part in resident.grant.footprint.devices if resident.grant is not None else ():
            if part.device != HOST:
                held[part.device] = held.get(part.device, 0) + part.total
    return held


def _as_good(grant: Grant, ideal: Grant) -> bool:
    """Slots and the type of KV are not worth that another model leaves; context and graphics memory are."""
    own, best = grant.setup, ideal.setup
    same_place = (own.gpu_layers, own.cpu_experts) == (best.gpu_layers, best.cpu_experts)
    return own.n_ctx >= best.n_ctx and same_place
