"""`/fireside/…`: what only this engine has. All of it but `hello` is for the owner; the gate sees to that."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import __version__, address
from fireside_engine.hardware import memory
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.body_shapes import DURATION
from fireside_engine.server.engine import Engine
from fireside_engine.server.openai_schema import parse, seconds
from fireside_engine.server.resident import Resident
from fireside_engine.server.responses import json_response
from fireside_engine.server.worker_handle import WorkerHandle


class ModelBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str = ""
    deterministic: bool | None = None
    keep_alive: Annotated[float | None, DURATION] = None
    force: bool = False

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return None if value is None else seconds(value)


class PathBody(BaseModel):
    model_config = ConfigDict(extra="ignore")
    path: str = Field(min_length=1, max_length=4096)


class Management:
    """The endpoints."""

    def __init__(self, engine: Engine, token: str, stop: Callable[[], None]) -> None:
        self._engine = engine
        self._token = token
        self._stop = stop

    async def hello(self, request: Request) -> Response:
        """Proof that the listener knows the owner's token, without telling it."""
        nonce = request.query_params.get("nonce", "")[:256]
        return json_response(
            {
                "name": "fireside",
                "version": __version__,
                "protocol": address.PROTOCOL,
                "pid": os.getpid(),
                "proof": address.prove(self._token, nonce) if nonce else "",
            }
        )

    async def status(self, _request: Request) -> Response:
        host = memory.host()
        engine = self._engine
        return json_response(
            {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": round(engine.uptime_s, 3),
                "idle_exit_s": engine.settings.idle_exit,
                "memory": {"total": host.total, "available": host.available},
                "models": [describe(resident) for resident in engine.supervisor.residents],
            }
        )

    async def register(self, request: Request) -> Response:
        """A name for a file, for as long as this engine lives. Raises NotAModel, ModelNotFound."""
        body = parse(PathBody, await request.body())
        entry = await self._engine.names.register(body.path)
        return json_response({"name": entry.name})

    async def load(self, request: Request) -> Response:
        """Returns when the model is loaded; of several that answer as one, all of this machine. The load goes on when
        the client does not wait for it."""
        body = parse(ModelBody, await request.body())
        route = await self._engine.names.find(body.model)
        if route.auto is not None:
            for i in route.auto.local[:-1]:
                if (entry := route.auto.members[i].entry) is not None:
                    await self._load(entry, body)
        worker, note = await self._load(route.entry, body)
        return json_response(
            {"model": route.entry.name, "info": asdict(worker.info) if worker.info else None, "note": note}
        )

    async def _load(self, entry: Entry, body: ModelBody) -> tuple[WorkerHandle, str]:
        """The loaded model, and what its user should know of it."""
        resident = self._engine.resident(entry, deterministic=body.deterministic)
        resident.force = resident.force or body.force
        resident.enter(1)
        try:
            worker = await resident.worker()
        finally:
            resident.leave(1, body.keep_alive)
        return worker, resident.grant.note if resident.grant is not None else ""

    async def unload(self, request: Request) -> Response:
        """`unloaded` is false when a request still runs: then the model leaves after it."""
        body = parse(ModelBody, await request.body())
        name = body.model
        residents = self._engine.supervisor.named(name)
        if not residents:
            entry = (await self._engine.names.find(name)).entry
            name, residents = entry.name, self._engine.supervisor.of_file(entry.path)
        busy = [resident for resident in residents if not resident.idle]
        for resident in residents:
            if resident in busy:
                resident.retire()
            else:
                await resident.unload()
        return json_response({"model": name, "unloaded": not busy})

    async def stop(self, _request: Request) -> Response:
        self._stop()
        return json_response({"stopping": True})


def describe(resident: Resident) -> dict[str, Any]:
    handle = resident.handle
    left = resident.keep_alive_left()
    active = min(resident.outstanding, resident.info.n_slots) if resident.info is not None else 0
    return {
        "name": resident.name,
        "state": resident.state,
        "path": resident.key.path,
        "pid": handle.pid if handle else None,
        "active": active,
        "waiting": resident.outstanding - active,
        "rss": memory.rss(handle.pid) if handle else 0,
        "predicted": resident.grant.footprint.total if resident.grant is not None else None,
        "reason": resident.grant.reason if resident.grant is not None else "",
        "note": resident.grant.note if resident.grant is not None else "",
        "drift": resident.drift,
        "loaded_s_ago": round(resident.loaded_for(), 3) if resident.state == "ready" else None,
        "keep_alive_s_left": None if left is None else math.ceil(left),
        "info": asdict(resident.info) if resident.info is not None else None,
        "error": resident.error.to_dict() if resident.error is not None else None,
    }
