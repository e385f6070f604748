"""One answer on its way: asks the engine, keeps what comes, and tells whoever shows it. Knows no widget.

Stopping is the reader's wish and leaves what came; an error leaves it too. Either way there is exactly one `Result`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fireside.account import Account
from fireside.failure import Failure
from fireside.progress import Prefill
from fireside.thinking import Piece
from fireside.tui.engine import Engine
from fireside.tui.reply import Loading, Reply
from fireside.wire import JsonObject


class Listener(Protocol):
    """Shows an answer while it comes."""

    def wait(self, words: str) -> None:
        """Nothing has come yet; `words` say what is waited for."""

    def show_stage(self, stage: Loading | Prefill) -> None:
        """A model is loaded, or the prompt is read."""

    async def add(self, pieces: list[Piece]) -> None:
        """Text has come."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an answer ended."""

    text: str
    reasoning: str
    account: Account
    failure: Failure | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.reasoning


class Generation:
    """`run` it once; `stop` it any time."""

    def __init__(self, engine: Engine, listener: Listener, clock: Callable[[], float] = time.monotonic) -> None:
        self.reply = Reply()
        self.is_connected = False
        self._engine = engine
        self._listener = listener
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def rate(self) -> float | None:
        """Tokens per second lately."""
        return self.reply.rate(self._clock())

    def stop(self) -> None:
        """End it; what came stays."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def run(self, body: JsonObject, model: str) -> Result:
        """Until the answer is complete, stopped, or failed. Raises only when it is cancelled from outside."""
        failure: Failure | None = None
        self.reply.asked = str(body.get("model") or "")
        self._task = asyncio.create_task(self._receive(body, model))
        if self._stopped:
            self._task.cancel()
        try:
            await self._task
        except Failure as caught:
            failure = caught
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        finally:
            # Ends the work of the engine also when the app itself is leaving.
            self._task.cancel()
        await self._listener.add(self.reply.finish(self._clock()))
        if failure is not None:
            account = self.reply.account("failed")
        elif self._stopped and self.reply.finish_reason is None:
            account = self.reply.account("stopped")
        else:
            account = self.reply.account("length" if self.reply.finish_reason == "length" else "stop")
        return Result(self.reply.text, self.reply.reasoning, account, failure)

    async def _receive(self, body: JsonObject, model: str) -> None:
        self._listener.wait("starting the engine")
        await self._engine.connect()
        self.is_connected = True
        self._listener.wait(f"waiting for {model or 'the model'}")
        async with contextlib.aclosing(self._engine.chat(body)) as chunks:
            async for chunk in chunks:
                pieces = self.reply.feed(chunk, self._clock())
                if pieces:
                    await self._listener.add(pieces)
                elif self.reply.stage is not None:
                    self._listener.show_stage(self.reply.stage)
