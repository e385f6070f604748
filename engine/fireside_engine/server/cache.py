"""`/fireside/cache`: KV on disk, shown and managed by its owner. Needs no loaded model.

The store is opened for each question and closed after it: workers have it open at the same time, and nothing of it
has to be ended in order when the engine leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fireside_engine import address, errors
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.store import Removed, Store
from fireside_engine.models.sizes import size_of
from fireside_engine.server import sse
from fireside_engine.server.body_shapes import SIZE
from fireside_engine.server.disconnect import ClientGone, while_connected
from fireside_engine.server.engine import Engine
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.responses import json_response
from fireside_engine.server.threads import in_thread

LIMIT = 60.0
"""Seconds for a question; a disk that takes longer hangs."""
STEP = 0.2
"""Seconds between two words about a verification."""

T = TypeVar("T")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClearBody(_Body):
    model: str | None = Field(default=None, min_length=1, max_length=256)


class PruneBody(_Body):
    to: Annotated[int, SIZE]

    @field_validator("to", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        return size_of(value)


class ForgetBody(_Body):
    conversation: str = Field(min_length=1, max_length=128)
    tenant: str | None = Field(default=None, max_length=128)
    """None: of every tenant that has a conversation of this name."""


class Cache:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def show(self, _request: Request) -> Response:
        settings = self._engine.catalogue.cache_settings()
        summary = await self._ask(upkeep.summary)
        free = await in_thread(lambda: shutil.disk_usage(_directory()).free, "kv manage")
        body = asdict(summary)
        for usage in body["models"]:
            del usage["owner"]
        for usage in body["conversations"]:
            usage.update(usage.pop("owner"))
        return json_response({"enabled": settings.enabled, "directory": str(_directory()), "free": free, **body})

    async def clear(self, request: Request) -> Response:
        """What loaded models have in memory stays there, and is saved again when it is used."""
        body = parse(ClearBody, await request.body() or b"{}")
        names = None if body.model is None else await self._names(body.model)
        removed = await self._ask(lambda store: _clear(store, names))
        self._engine.forget(None, drop=False)
        return _removed(removed)

    async def prune(self, request: Request) -> Response:
        body = parse(PruneBody, await request.body())
        removed = await self._ask(lambda store: upkeep.prune(store, body.to))
        self._engine.forget(None, drop=False)
        return _removed(removed)

    async def forget(self, request: Request) -> Response:
        """KV and answers of a conversation that no other uses; it goes from the memory of loaded models too."""
        body = parse(ForgetBody, await request.body())
        owners = await self._ask(lambda store: _owners(store, body))
        removed = await self._ask(lambda store: _forget(store, owners))
        for owner in owners:
            # After the disk: what a worker wrote meanwhile it deletes again.
            self._engine.forget(owner, drop=True)
        return _removed(removed)

    async def verify(self, _request: Request) -> Response:
        """A stream of `{"done", "total"}` in bytes, with the outcome as its last event."""
        return _Verification(self)

    async def verified(self, progress: upkeep.Progress, stop: Callable[[], bool]) -> upkeep.Verified:
        return await self._ask(lambda store: upkeep.verify(store, progress, stop), limit=None)

    async def _names(self, model: str) -> list[str]:
        """What a model may be called in the cache, which knows the names of files only."""
        try:
            entry = (await self._engine.names.find(model)).entry
        except errors.FiresideError:
            # Its file may be gone by now.
            return [model]
        return [model, entry.name, entry.path.stem]

    async def _ask(self, question: Callable[[Store], T], *, limit: float | None = LIMIT) -> T:
        """Raises CacheUnavailable."""
        budget = self._engine.catalogue.cache_settings().budget

        def work() -> T:
            with _opened(budget) as store:
                return question(store)

        try:
            async with asyncio.timeout(limit):
                return await in_thread(work, "kv manage")
        except TimeoutError:
            raise _unavailable(f"the disk has not answered for {limit:.0f} s") from None
        except Unavailable as error:
            raise _unavailable(str(error)) from error
        except OSError as error:
            raise _unavailable(error.strerror or str(error)) from error


class _Verification(Response):
    """An ASGI application, because it must hear of the client's departure."""

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self._cache = cache
        self._stop = threading.Event()
        self._progress = (0, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        with contextlib.suppress(ClientGone):
            await while_connected(receive, self._stream(send))

    async def _stream(self, send: Send) -> None:
        stream = sse.EventStream(send, timeout=LIMIT)
        work = asyncio.ensure_future(self._cache.verified(self._note, self._stop.is_set))
        try:
            await stream.start()
            while not work.done():
                await asyncio.wait({work}, timeout=STEP)
                done, total = self._progress
                await stream.write(sse.event({"done": done, "total": total}))
            await stream.write(sse.event(await _outcome(work)) + sse.DONE)
            await stream.end()
        finally:
            self._stop.set()
            work.cancel()

    def _note(self, done: int, total: int) -> None:
        self._progress = (done, total)


async def _outcome(work: Awaitable[upkeep.Verified]) -> dict[str, Any]:
    try:
        return {"verified": asdict(await work)}
    except errors.FiresideError as error:
        # The headers have left, so the error is the stream's last word.
        return {"error": error.to_dict()}


def _directory() -> Path:
    return address.cache_dir() / "kv"


@contextlib.contextmanager
def _opened(budget: int | None) -> Iterator[Store]:
    """The store, its index made where it was missing."""
    with contextlib.closing(Store(_directory(), budget=budget)) as store:
        with contextlib.suppress(Unavailable), store.tier.index.reading():
            pass
        store.tier.index.wait(LIMIT)
        yield store


def _clear(store: Store, names: list[str] | None) -> Removed:
    """names: of one model, as it was asked for first. Raises ModelNotFound."""
    if names is None:
        return upkeep.clear(store)
    known = {usage.model for usage in upkeep.summary(store).models}
    wanted = {name.casefold() for name in names}
    labels = [label for label in known if label.casefold() in wanted]
    if not labels:
        hint = f"It has KV of: {', '.join(sorted(known))}." if known else "It is empty."
        raise errors.ModelNotFound(f"The cache has nothing of {names[0]}.", hint=hint, model=names[0])
    return _sum(upkeep.clear(store, label) for label in labels)


def _owners(store: Store, body: ForgetBody) -> list[Owner]:
    if body.tenant is not None:
        return [Owner(body.tenant, body.conversation)]
    # The owner's own conversation may be in memory only.
    return list({Owner("", body.conversation), *upkeep.owners_of(store, body.conversation)})


def _forget(store: Store, owners: list[Owner]) -> Removed:
    return _sum(store.forget(owner) for owner in owners)


def _sum(parts: Iterator[Removed]) -> Removed:
    done = list(parts)
    return Removed(sum(part.records for part in done), sum(part.bytes for part in done))


def _removed(removed: Removed) -> Response:
    return json_response(asdict(removed))


def _unavailable(why: str) -> errors.CacheUnavailable:
    hint = f"Answers go on without it. It lies in {_directory()}."
    return errors.CacheUnavailable(f"The KV cache cannot be used now: {why}.", hint=hint)
