"""LM Studio's `/api/v0`, as far as editors use it: which models there are, and whether they are loaded."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fireside_engine.models.catalogue import Entry
from fireside_engine.server.engine import Engine
from fireside_engine.server.responses import json_response

_STATES = {"ready": "loaded", "loading": "loading"}


class LmStudio:
    """The endpoints of discovery; chat and the others are OpenAI's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def models(self, _request: Request) -> Response:
        entries = [entry for entry in await self._engine.names.entries() if "error" not in entry.details]
        return json_response({"object": "list", "data": [self._model(entry) for entry in entries]})

    async def model(self, request: Request) -> Response:
        route = await self._engine.names.find(request.path_params["name"])
        return json_response(self._model(route.entry))

    def _model(self, entry: Entry) -> dict[str, Any]:
        residents = self._engine.supervisor.of_file(entry.path)
        states = [_STATES[resident.state] for resident in residents if resident.state in _STATES]
        details = entry.details
        embeds = "embedding" in (details.get("roles") or ())
        model: dict[str, Any] = {
            "id": entry.name,
            "object": "model",
            "type": "embeddings" if embeds else "llm",
            "publisher": "fireside",
            "arch": details.get("architecture") or "",
            "compatibility_type": "gguf",
            "quantization": details.get("quant") or "unknown",
            "state": states[0] if states else "not-loaded",
            "max_context_length": details.get("n_ctx_train") or 0,
            "capabilities": [] if embeds else ["tool_use"],
        }
        loaded = [resident.info.n_ctx for resident in residents if resident.info is not None]
        return {**model, "loaded_context_length": loaded[0]} if loaded else model
