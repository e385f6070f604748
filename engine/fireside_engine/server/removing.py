"""`POST /fireside/remove`: takes a model away, from memory and from the disk. For the owner, as all of `/fireside/`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import address
from fireside_engine.errors import Overloaded
from fireside_engine.models.catalogue_schema import FILE_NAME
from fireside_engine.models.removal import remove_model, remove_unfinished, require_removable
from fireside_engine.models.user_catalogue import UserCatalogue
from fireside_engine.server.engine import Engine
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.responses import json_response


class RemoveBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str = Field(default="", max_length=256)
    unfinished: bool = False


class Removing:
    """The endpoint."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def remove(self, request: Request) -> Response:
        """With `unfinished`, what downloads left that were not finished. Raises ModelNotFound; InvalidRequest when the
        model is not ours to remove; Overloaded while it answers."""
        body = parse(RemoveBody, await request.body())
        if body.unfinished:
            removed, busy = await asyncio.to_thread(remove_unfinished, self._engine.names.models_dir)
            return json_response({"removed": [asdict(one) for one in removed], "busy": busy})
        return await self.remove_named(body.model)

    async def remove_named(self, name: str) -> Response:
        """Raises as `remove` does."""
        entry = await self._engine.names.known_exactly(name)
        user = UserCatalogue(address.config_dir() / FILE_NAME)
        catalogue = self._engine.names.catalogue
        await asyncio.to_thread(require_removable, entry, catalogue, user)
        residents = self._engine.supervisor.of_file(entry.path)
        if any(not resident.idle for resident in residents):
            raise Overloaded(
                f"{entry.name} is answering now.", hint="Remove it when its answers are complete.", retry_after=10
            )
        for resident in residents:
            await resident.unload()
        done = await asyncio.to_thread(remove_model, entry, catalogue, user)
        return json_response({"removed": [asdict(done)], "busy": []})
