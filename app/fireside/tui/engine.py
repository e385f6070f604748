"""The engine as the terminal app sees it: a few calls that fail in words, whoever answers them.

`Engine` is what the app needs; tests give it a stand-in. `LocalEngine` is the engine of this user: found or started on
first use, and looked for again after it went away, so that the next message starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fireside import engine_process
from fireside.client import AsyncEngineClient
from fireside.failure import from_engine
from fireside.forgetting import PATH as FORGET
from fireside.wire import EngineFailure, JsonObject

CALL_LIMIT = 10.0
"""Seconds for calls that only report."""
FIT_LIMIT = 180.0
"""Seconds for a look at all models, of which each may need a dry run."""
_LOST = (EngineFailure.UNREACHABLE, EngineFailure.GONE)


class Engine(Protocol):
    """Every call raises Failure, and nothing else."""

    async def connect(self) -> None:
        """Find the engine or start it. At once where that is done already."""

    def chat(self, body: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """The chunks of an answer; closing the generator stops the engine's work on it."""

    async def models(self) -> list[Model]:
        """What may be named in a request."""

    async def status(self) -> Status:
        """What is loaded."""

    async def load(self, model: str, *, deterministic: bool) -> str:
        """Have a model ready; empty is the engine's default. Gives its name."""

    async def fit(self, body: JsonObject) -> JsonObject:
        """How models would run here, and why: those that are here, or one on the hub by what `peek` said of it."""

    async def downloads(self) -> JsonObject:
        """What could be fetched, and what of it to begin with. Asks no network."""

    async def count_tokens(self, model: str, text: str) -> int | None:
        """Tokens of a text, where that model is in memory and can tell."""

    async def register(self, path: Path) -> str:
        """The name of a model file that lies anywhere; the path is absolute."""

    async def forget(self, conversation: str) -> None:
        """Remove what is kept of a conversation that is gone. An engine that keeps nothing has done so."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be chosen; 0 where a number is not known."""

    name: str
    loaded: bool = False
    size: int = 0
    """Bytes."""
    n_ctx: int = 0
    """Tokens it was trained for."""
    source: str = ""

    @classmethod
    def of(cls, data: JsonObject) -> Model:
        meta, own = _object(data, "meta"), _object(data, "fireside")
        return cls(
            str(data.get("id") or ""),
            bool(own.get("loaded")),
            _whole(meta, "size"),
            _whole(meta, "n_ctx_train"),
            str(own.get("source") or ""),
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A model in memory, or on its way there."""

    name: str
    state: str
    """loading, ready or failed."""
    n_ctx: int
    description: str
    rss: int
    """Bytes of its process."""
    keep_alive_s: float | None
    """Seconds until it is unloaded if nobody asks it anything; None: it stays."""

    @classmethod
    def of(cls, data: JsonObject) -> Running:
        info = _object(data, "info")
        left = data.get("keep_alive_s_left")
        return cls(
            str(data.get("name") or ""),
            str(data.get("state") or ""),
            _whole(info, "n_ctx"),
            str(info.get("description") or ""),
            _whole(data, "rss"),
            float(left) if isinstance(left, int | float) else None,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """What the engine says about itself; 0 where a number is not known."""

    models: tuple[Running, ...] = ()
    memory_total: int = 0
    memory_available: int = 0

    @classmethod
    def of(cls, data: JsonObject) -> Status:
        memory = _object(data, "memory")
        models = tuple(Running.of(entry) for entry in data.get("models") or () if isinstance(entry, dict))
        return cls(models, _whole(memory, "total"), _whole(memory, "available"))

    def find(self, name: str) -> Running | None:
        """The entry of a model; of the only one if no name is given."""
        if not name:
            return self.models[0] if len(self.models) == 1 else None
        return next((model for model in self.models if model.name.lower() == name.lower()), None)


class LocalEngine:
    """The engine of this user, over HTTP on this machine."""

    def __init__(self) -> None:
        self._client: AsyncEngineClient | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        await self._connected()

    async def chat(self, body: JsonObject) -> AsyncGenerator[JsonObject, None]:
        began = False
        for attempt in range(2):
            client = await self._connected()
            try:
                async with contextlib.aclosing(client.chat(body)) as chunks:
                    async for chunk in chunks:
                        began = True
                        yield chunk
                return
            except EngineFailure as failure:
                self._forget(failure)
                # An engine that left while nobody asked anything is no failure of this request.
                if began or attempt or failure.code not in _LOST:
                    raise from_engine(failure) from failure

    async def models(self) -> list[Model]:
        data = await self._call("GET", "/v1/models")
        return [Model.of(entry) for entry in data.get("data") or () if isinstance(entry, dict)]

    async def status(self) -> Status:
        return Status.of(await self._call("GET", "/fireside/status"))

    async def load(self, model: str, *, deterministic: bool) -> str:
        answer = await self._call(
            "POST", "/fireside/load", {"model": model, "deterministic": deterministic}, limit=None
        )
        return str(answer.get("model") or model)

    async def fit(self, body: JsonObject) -> JsonObject:
        return await self._call("POST", "/fireside/fit", body, limit=FIT_LIMIT)

    async def downloads(self) -> JsonObject:
        return await self._call("GET", "/fireside/downloads", limit=FIT_LIMIT)

    async def count_tokens(self, model: str, text: str) -> int | None:
        answer = await self._call("POST", "/tokenize", {"model": model, "content": text, "add_special": False})
        tokens = answer.get("tokens")
        return len(tokens) if isinstance(tokens, list) else None

    async def register(self, path: Path) -> str:
        answer = await self._call("POST", "/fireside/register", {"path": str(path)}, limit=None)
        return str(answer.get("name") or "")

    async def forget(self, conversation: str) -> None:
        client = await self._connected()
        try:
            await client.post(FORGET, {"conversation": conversation}, timeout=CALL_LIMIT)
        except EngineFailure as failure:
            self._forget(failure)
            if failure.status != 404:
                raise from_engine(failure) from failure

    async def _connected(self) -> AsyncEngineClient:
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = AsyncEngineClient(await asyncio.to_thread(engine_process.connect))
                except EngineFailure as failure:
                    raise from_engine(failure) from failure
            return self._client

    async def _call(
        self, method: str, path: str, body: JsonObject | None = None, *, limit: float | None = CALL_LIMIT
    ) -> JsonObject:
        client = await self._connected()
        try:
            if method == "GET":
                return await client.get(path, timeout=limit)
            return await client.post(path, body, timeout=limit)
        except EngineFailure as failure:
            self._forget(failure)
            raise from_engine(failure) from failure

    def _forget(self, failure: EngineFailure) -> None:
        if failure.code in _LOST:
            self._client = None


def _object(data: JsonObject, name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _whole(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    return int(value) if isinstance(value, int | float) else 0
