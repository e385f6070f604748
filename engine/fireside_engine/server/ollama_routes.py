"""Ollama's endpoints, for the editors and tools that look for it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fireside_engine import errors
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.ollama_answer import HEADERS, OllamaAnswer, now
from fireside_engine.server.ollama_request import OllamaCall, chat_call, generate_call
from fireside_engine.server.ollama_schema import ChatBody, GenerateBody, NameBody
from fireside_engine.server.openai_chat import LARGE
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.removing import Removing
from fireside_engine.server.resident import FOREVER, Resident
from fireside_engine.server.responses import dumps, json_response
from fireside_engine.server.tenants import require_manager

VERSION = "0.32.5"
"""Of the Ollama whose API this is. Clients refuse what is older than they need, and what is no version number."""

TEMPLATE = "{{- if .System }}{{ .System }}{{ end }}{{- if .Tools }}{{ .Tools }}{{ end }}{{ .Prompt }}"
FILL_TEMPLATE = "{{- if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}" + TEMPLATE + "{{ end }}"
"""Clients find out from the words in it what a model can do; a Jinja template would tell them nothing."""


class Ollama:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._removing = Removing(engine)

    # --- generating

    async def chat(self, request: Request) -> ASGIApp:
        data = await request.body()
        body = await asyncio.to_thread(parse, ChatBody, data) if len(data) > LARGE else parse(ChatBody, data)
        if not body.messages:
            return await self._keep(body, {"message": {"role": "assistant", "content": ""}})
        return await self._exchange(chat_call(body))

    async def generate(self, request: Request) -> ASGIApp:
        data = await request.body()
        body = await asyncio.to_thread(parse, GenerateBody, data) if len(data) > LARGE else parse(GenerateBody, data)
        if not body.prompt and not body.suffix:
            return await self._keep(body, {"response": ""})
        return await self._exchange(generate_call(body))

    async def _exchange(self, call: OllamaCall) -> ASGIApp:
        route = await self._engine.names.find(call.model)
        return Exchange(self._engine, call, route, OllamaAnswer(call, route.entry.name))

    async def _keep(self, body: ChatBody | GenerateBody, empty: dict[str, Any]) -> Response:
        """A request without words loads the model, or unloads it where `keep_alive` is 0."""
        route = await self._engine.names.find(body.model)
        reason = "load"
        if body.keep_alive == 0:
            reason = "unload"
            for resident in self._engine.supervisor.of_file(route.entry.path):
                if resident.idle:
                    await resident.unload()
                else:
                    resident.retire()
        else:
            resident = self._engine.resident(route.entry)
            resident.enter(1)
            try:
                await resident.worker()
            finally:
                resident.leave(1, body.keep_alive)
        line = {"model": body.model or route.entry.name, "created_at": now(), **empty, "done": True}
        return _lines([{**line, "done_reason": reason}], stream=body.stream is not False)

    # --- telling

    async def version(self, _request: Request) -> Response:
        return json_response({"version": VERSION})

    async def tags(self, _request: Request) -> Response:
        entries = [entry for entry in await self._engine.names.entries() if "error" not in entry.details]
        return json_response({"models": [_listed(entry) for entry in entries]})

    async def show(self, request: Request) -> Response:
        body = parse(NameBody, await request.body())
        if not body.model:
            raise errors.InvalidRequest("model: is missing.", param="model")
        entry = (await self._engine.names.find(body.model)).entry
        details = entry.details
        architecture = str(details.get("architecture") or "llama")
        ready = self._ready(entry)
        n_ctx = ready.info.n_ctx if ready is not None and ready.info is not None else details.get("n_ctx_train") or 0
        can_fill = "insert" in _capabilities(entry)
        return json_response(
            {
                "modelfile": f"FROM {entry.name}",
                # A blank line in it disables a client's autocomplete.
                "parameters": f"num_ctx {n_ctx}",
                "template": FILL_TEMPLATE if can_fill else TEMPLATE,
                "details": _details(entry),
                "model_info": {
                    "general.architecture": architecture,
                    "general.basename": entry.name,
                    "general.parameter_count": details.get("n_params") or 0,
                    "general.file_type": details.get("quant") or "",
                    f"{architecture}.context_length": n_ctx,
                    f"{architecture}.embedding_length": details.get("n_embd") or 0,
                    f"{architecture}.vocab_size": details.get("n_vocab") or 0,
                },
                "capabilities": _capabilities(entry),
                "license": details.get("licence") or "",
                "modified_at": _modified(entry),
            }
        )

    async def ps(self, _request: Request) -> Response:
        entries = {str(entry.path): entry for entry in await self._engine.names.entries()}
        running = [
            _running(entries[resident.key.path], resident)
            for resident in self._engine.supervisor.residents
            if resident.state == "ready" and resident.key.path in entries
        ]
        return json_response({"models": running})

    # --- changing

    async def pull(self, request: Request) -> Response:
        """What is here is a success at once."""
        body = parse(NameBody, await request.body())
        entry = (await self._engine.names.find(body.model)).entry if body.model else None
        if entry is None:
            raise errors.InvalidRequest("model: is missing.", param="model")
        lines = [{"status": "pulling manifest"}, {"status": "success"}]
        return _lines(lines if body.stream is not False else lines[-1:], stream=body.stream is not False)

    async def delete(self, request: Request) -> Response:
        require_manager(request.scope, "remove models")
        body = parse(NameBody, await request.body())
        return await self._removing.remove_named(body.model)

    def _ready(self, entry: Entry) -> Resident | None:
        residents = self._engine.supervisor.of_file(entry.path)
        return next((each for each in residents if each.state == "ready"), None)


def _lines(lines: list[dict[str, Any]], *, stream: bool) -> Response:
    if not stream:
        return json_response(lines[-1])
    body = b"".join(dumps(line) + b"\n" for line in lines)
    return Response(body, media_type=HEADERS[0][1].decode())


def _capabilities(entry: Entry) -> list[str]:
    roles = entry.details.get("roles") or ()
    if "embedding" in roles:
        return ["embedding"]
    # Where a template knows no tools, they are told in words.
    found = ["completion", "tools"]
    if "fim" in roles:
        found.append("insert")
    if "thinking" in roles:
        found.append("thinking")
    return found


def _details(entry: Entry) -> dict[str, Any]:
    architecture = str(entry.details.get("architecture") or "")
    return {
        "parent_model": "",
        "format": "gguf",
        "family": architecture,
        "families": [architecture],
        "parameter_size": _parameters(int(entry.details.get("n_params") or 0)),
        "quantization_level": str(entry.details.get("quant") or "unknown"),
    }


def _listed(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": _modified(entry),
        "size": entry.size,
        "digest": _digest(entry),
        "details": _details(entry),
        "capabilities": _capabilities(entry),
    }


def _running(entry: Entry, resident: Resident) -> dict[str, Any]:
    left = resident.keep_alive_left()
    # While it answers, and when it stays for good, there is no such time; a late one is what clients can read.
    ahead = timedelta(days=3650) if left in (None, FOREVER) else timedelta(seconds=left or 0.0)
    return {
        "name": entry.name,
        "model": entry.name,
        "size": entry.size,
        "digest": _digest(entry),
        "details": _details(entry),
        "expires_at": (datetime.now(UTC) + ahead).isoformat().replace("+00:00", "Z"),
        "size_vram": 0,
        "context_length": resident.info.n_ctx if resident.info is not None else 0,
    }


def _modified(entry: Entry) -> str:
    try:
        stamp = entry.path.stat().st_mtime
    except OSError:
        stamp = time.time()
    return datetime.fromtimestamp(stamp, UTC).isoformat().replace("+00:00", "Z")


def _digest(entry: Entry) -> str:
    """Tells versions of a file apart, without reading gigabytes: it is no hash of the content."""
    return hashlib.sha256(f"{entry.name}\0{entry.size}\0{_modified(entry)}".encode()).hexdigest()


def _parameters(n: int) -> str:
    if n >= 10**9:
        return f"{n / 1e9:.1f}B"
    return f"{n / 1e6:.2f}M" if n else "unknown"
