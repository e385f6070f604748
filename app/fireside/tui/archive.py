"""The conversations on disk as the terminal app uses them: in a thread of their own, in the order of the calls.

A chat does not end because it cannot be saved: the failure is kept and told, and the next save writes what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from fireside.conversations.database import StoreFailure
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation, Turn
from fireside.failure import Failure

Value = TypeVar("Value")


class Archive:
    """Of one app. Nothing touches the disk before the first call."""

    def __init__(self, *, is_on: bool = True) -> None:
        self.is_on = is_on
        """False saves nothing; what is there can be read all the same."""
        self.failure: Failure | None = None
        """Of the last save."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="conversations")
        self._store: Store | None = None

    async def call(self, function: Callable[[Store], Value]) -> Value:
        """What `function` makes of the store. Raises Failure."""
        return await asyncio.wrap_future(self._thread.submit(self._with_store, function))

    async def save(self, conversation: Conversation, turns: Iterable[Turn] = ()) -> None:
        """Write turns, leaf and settings; they are on the disk when this returns, unless there is a `failure`."""
        await self._write(self._saving(conversation, turns))

    def save_before_leaving(self, conversation: Conversation, turns: Iterable[Turn]) -> None:
        """The same, for when there is no time to wait: `close` waits for it."""
        self.begin(self._saving(conversation, turns))

    def begin(self, function: Callable[[Store], None]) -> None:
        """Have something written that nobody waits for but `close`."""
        if self.is_on:
            self._thread.submit(self._with_store, function)

    async def discard(self, conversation: Conversation, ids: Iterable[str]) -> None:
        """Take turns away that nothing came of."""
        view, gone = _view(conversation), list(ids)
        await self._write(lambda store: store.discard(view, gone))

    def close(self) -> None:
        """Returns when everything is written."""
        self._thread.shutdown(wait=True)
        if self._store is not None:
            self._store.close()

    def _saving(self, conversation: Conversation, turns: Iterable[Turn]) -> Callable[[Store], None]:
        view, written = _view(conversation), list(turns)
        return lambda store: store.save(view, written)

    async def _write(self, function: Callable[[Store], None]) -> None:
        if not self.is_on:
            return
        writing: Future[None] = self._thread.submit(self._with_store, function)
        try:
            # Whoever waits may be cancelled; what was begun is written.
            await asyncio.shield(asyncio.wrap_future(writing))
        except StoreFailure as failure:
            self.failure = failure
        else:
            self.failure = None

    def _with_store(self, function: Callable[[Store], Value]) -> Value:
        if self._store is None:
            self._store = Store()
        return function(self._store)


def _view(conversation: Conversation) -> Conversation:
    """As it is now; the thread must not see what is changed meanwhile."""
    return replace(conversation, turns=dict(conversation.turns), settings=dict(conversation.settings))
