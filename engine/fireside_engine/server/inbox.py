"""What waits between the pipe of a worker and the connection of a client.

Putting never blocks, because one reader serves all requests of a worker: a client that does not read must not stop its
neighbours. So the buffer has limits: passing the first one holds the request, passing the other one ends it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fireside_engine import errors
from fireside_engine.core.events import Delta, Event, Failed
from fireside_engine.worker.protocol import Loading

Item = Event | Loading
"""What the client of a generation sees happen."""

_OVERHEAD = 64
_LOGPROB = 128


def weight(item: Item) -> int:
    """Roughly the bytes that an item keeps in memory."""
    if not isinstance(item, Delta):
        return _OVERHEAD
    return _OVERHEAD + len(item.text) + sum(_LOGPROB * (1 + len(entry.top)) for entry in item.logprobs)


class Inbox:
    """One consumer, any number of producers, one event loop."""

    def __init__(
        self,
        limit: int,
        on_overflow: Callable[[], None],
        hold_limit: int = 0,
        on_hold: Callable[[bool], None] | None = None,
    ) -> None:
        """on_hold: told True when more than `hold_limit` waits, and False when most of that is taken."""
        self._items: deque[Item] = deque()
        self._weight = 0
        self._limit = limit
        self._on_overflow = on_overflow
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._hold_limit = hold_limit
        self._on_hold = on_hold
        self._held = False

    def put(self, item: Item) -> None:
        if self._closed:
            return
        self._append(item)
        if self._weight > self._limit:
            error = errors.Overloaded(
                "The client reads more slowly than the model writes, so its request was cancelled."
            )
            self.close(Failed("", error.to_dict()))
            self._on_overflow()
        elif self._on_hold is not None and not self._held and self._weight > self._hold_limit:
            self._held = True
            self._on_hold(True)

    def close(self, last: Item) -> None:
        """Deliver `last` after what is waiting, and nothing after it."""
        if not self._closed:
            self._append(last)
            self._closed = True

    def take(self) -> Item | None:
        """The next item, if one is waiting."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._weight -= weight(item)
        if self._on_hold is not None and self._held and self._weight <= self._hold_limit // 4:
            self._held = False
            self._on_hold(False)
        return item

    async def get(self) -> Item:
        while (item := self.take()) is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return item

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._weight += weight(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
