"""`GET /v1/models`: what can be asked for by name. Never where it lies."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.models.catalogue import Entry
from fireside_engine.models.known import list_known
from fireside_engine.server.engine import Engine
from fireside_engine.server.responses import json_response
from fireside_engine.server.routing.rosters import AUTO
from fireside_engine.worker.protocol import ModelInfo

_META = ("n_ctx_train", "n_params", "architecture", "quant", "n_vocab")
"""Details of an entry that clients look for in `meta`."""


class ModelList:
    """The two endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def all(self, _request: Request) -> Response:
        entries = await self._engine.names.entries()
        usable = [entry for entry in entries if "error" not in entry.details]
        data = [self._model(entry) for entry in usable]
        if (auto := await self._auto()) is not None and all(each["id"].casefold() != auto["id"] for each in data):
            data.append(auto)
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        # Anthropic's SDK reads the same path; one body serves both.
        return json_response({"object": "list", "data": data, "has_more": False, **ends})

    async def one(self, request: Request) -> Response:
        """Raises ModelNotFound."""
        route = await self._engine.names.find(request.path_params["name"])
        return json_response(self._model(route.entry))

    async def known(self, request: Request) -> Response:
        """What models.toml knows, installed or not; `query` are words that all must be there."""
        query = request.query_params.get("query", "")[:256]
        found = await asyncio.to_thread(list_known, self._engine.names.catalogue, query)
        return json_response({"models": [asdict(model) for model in found]})

    async def _auto(self) -> dict[str, Any] | None:
        """Several models under one name, where there are some that can answer as one."""
        try:
            route = await self._engine.names.find(AUTO)
        except errors.FiresideError:
            return None
        if route.auto is None:
            return None
        names = [tier.name for tier in route.auto.roster.tiers]
        shown = self._model(route.entry)
        return {**shown, "fireside": {**shown["fireside"], "source": AUTO, "roster": names}}

    def _model(self, entry: Entry) -> dict[str, Any]:
        ready = [resident for resident in self._engine.supervisor.of_file(entry.path) if resident.state == "ready"]
        meta: dict[str, Any] = {name: entry.details[name] for name in _META if name in entry.details}
        meta["size"] = entry.size
        if ready and ready[0].info is not None:
            meta.update(_of_loaded(ready[0].info))
        return {
            "id": entry.name,
            "object": "model",
            "created": _created(entry),
            "owned_by": "fireside",
            "type": "model",
            "display_name": entry.name,
            "created_at": datetime.fromtimestamp(_created(entry), UTC).isoformat().replace("+00:00", "Z"),
            # Editors look for the limit under this name.
            "context_length": meta.get("n_ctx") or meta.get("n_ctx_train"),
            "meta": meta,
            "fireside": {"loaded": bool(ready), "source": entry.source},
        }


def _of_loaded(info: ModelInfo) -> dict[str, Any]:
    return {"n_ctx": info.n_ctx, "n_ctx_train": info.n_ctx_train, "n_params": info.n_params, "n_vocab": info.n_vocab}


def _created(entry: Entry) -> int:
    try:
        return int(entry.path.stat().st_mtime)
    except OSError:
        return 0
