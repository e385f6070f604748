"""From the name in a request to a model, with the reason in one sentence.

Names come from strangers: they are looked up, never read as paths.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from fireside_engine import errors
from fireside_engine.models.catalogue import Catalogue, Entry
from fireside_engine.models.names import key
from fireside_engine.server.routing.rosters import AUTO, Resolved, is_auto, resolve
from fireside_engine.server.supervisor import Supervisor

_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Route:
    """Which model answers, and why."""

    entry: Entry
    reason: str
    auto: Resolved | None = None
    """Several models answer as one; `entry` is then the most capable of this machine, under their common name."""


class Names:
    """The catalogue as the server asks it: in a thread, because it reads directories and headers."""

    def __init__(self, catalogue: Catalogue, supervisor: Supervisor) -> None:
        self._catalogue = catalogue
        self._supervisor = supervisor

    @property
    def catalogue(self) -> Catalogue:
        return self._catalogue

    @property
    def models_dir(self) -> Path:
        return self._catalogue.models_dir

    async def known_exactly(self, name: str) -> Entry:
        """The model of that name, and no default for none. Raises ModelNotFound."""
        if not name.strip() or len(name) > _LONGEST or not name.isprintable():
            raise errors.ModelNotFound("No model has a name like that.", hint="`fireside models` lists the models.")
        return await asyncio.to_thread(self._exact, name)

    async def entries(self) -> list[Entry]:
        return await asyncio.to_thread(self._catalogue.list)

    async def find(self, name: str) -> Route:
        """Raises ModelNotFound, or NotAModel when its file is broken."""
        if len(name) > _LONGEST or not name.isprintable():
            raise errors.ModelNotFound("No model has a name like that.", hint="`GET /v1/models` lists the models.")
        if is_auto(name):
            return await asyncio.to_thread(self._auto, name)
        if name.strip().lower().removesuffix(":latest") not in ("", "default"):
            return Route(await asyncio.to_thread(self._resolve, name), "The request named this model.")
        if (latest := self._supervisor.latest()) is not None:
            for entry in await self.entries():
                if str(entry.path) == latest.key.path:
                    return Route(entry, "The request named no model, and this one was loaded last.")
        entry = await asyncio.to_thread(self._catalogue.default)
        return Route(entry, "The request named no model, and this is the default.")

    async def auto(self) -> Resolved:
        """The models that answer as `auto`. Raises ModelNotFound, InvalidRequest."""
        return await asyncio.to_thread(resolve, self._catalogue)

    def _auto(self, name: str) -> Route:
        """A model that is called so comes first."""
        own = next((entry for entry in self._catalogue.list() if key(entry.name) == AUTO), None)
        if own is not None:
            return Route(self._resolve(name), "The request named this model.")
        found = resolve(self._catalogue)
        front = replace(found.front, name=AUTO, stands_for=found.front.name)
        return Route(front, "The request left the choice of the model to the engine.", found)

    async def register(self, path: str) -> Entry:
        """Raises NotAModel or ModelNotFound."""
        return await asyncio.to_thread(self._catalogue.register, Path(path))

    def _exact(self, name: str) -> Entry:
        """Broken ones too: those most of all are removed."""
        wanted = key(name)
        for entry in self._catalogue.list():
            if key(entry.name) == wanted:
                return entry
        return self._resolve(name)

    def _resolve(self, name: str) -> Entry:
        try:
            return self._catalogue.resolve(name)
        except errors.ModelNotFound:
            # It may have been added to models.toml a moment ago.
            self._catalogue.refresh()
            return self._catalogue.resolve(name)
