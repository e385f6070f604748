"""Shadows: while nobody needs the engine, a sample of what small tiers answered is answered by the large one too, so
that `fireside prove` can tell whether its proof still holds.

Only where `auto.shadow` asks for it, only the owner's prompts, and never those that are not to be saved. Prompt and
both
answers are then kept on disk. Whoever needs the engine goes first: a shadow that is being computed is given up at once,
and tried again later.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Finished
from fireside_engine.core.request import ChatPrompt, Request
from fireside_engine.server.call import Call
from fireside_engine.server.routing.rosters import Resolved
from fireside_engine.server.tenants import OWNER

if TYPE_CHECKING:
    from fireside_engine.server.engine import Engine
    from fireside_engine.server.routing.trace import Trace

log = logging.getLogger(__name__)

MOST = 64
"""Answers that wait for their shadow."""
TRIES = 3


@dataclass(frozen=True, slots=True)
class _Turn:
    request: Request
    resolved: Resolved
    text: str
    route: dict[str, Any]
    tries: int = 0


class Shadows:
    """Owned by the engine's loop."""

    def __init__(self, engine: Engine, trace: Trace) -> None:
        self._engine, self._trace = engine, trace
        self._waiting: deque[_Turn] = deque(maxlen=MOST)
        self._task: asyncio.Task[None] | None = None
        self.made = 0

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def offer(self, resolved: Resolved, call: Call, tenant: str, text: str, route: dict[str, Any]) -> None:
        """An answer is complete; by chance it gets a shadow."""
        request, share = call.requests[0], resolved.settings.shadow
        is_small = route["tier"] != resolved.roster.tiers[-1].name and not route["escalated"]
        fits = isinstance(request.prompt, ChatPrompt) and request.save and tenant == OWNER and is_small
        if not fits or call.route.tier or random.random() >= share:
            return
        self._waiting.append(_Turn(request, resolved, text, route))
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        settings = self._engine.settings
        try:
            while self._waiting:
                if self._engine.activity.idle_for() < settings.shadow_idle or self._engine.supervisor.loading:
                    await asyncio.sleep(settings.shadow_idle / 4)
                    continue
                await self._shadow(self._waiting.popleft())
        finally:
            self._task = None

    async def _shadow(self, turn: _Turn) -> None:
        answering = asyncio.create_task(self._large(turn))
        needed = asyncio.create_task(self._needed())
        await asyncio.wait({answering, needed}, return_when=asyncio.FIRST_COMPLETED)
        needed.cancel()
        if not answering.done():
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            if turn.tries + 1 < TRIES:
                self._waiting.append(replace(turn, tries=turn.tries + 1))
            return
        try:
            large = answering.result()
        except errors.FiresideError as error:
            log.info("a shadow could not be answered: %s", error.message)
            return
        self.made += 1
        self._trace.add_shadow(time.time(), _body(turn, large))

    async def _needed(self) -> None:
        await self._engine.activity.busy()

    async def _large(self, turn: _Turn) -> str:
        """Raises FiresideError."""
        member = turn.resolved.members[-1]
        if member.entry is None:
            raise errors.NotSupported("Shadows are answered on this machine only.", feature="shadow")
        request = replace(turn.request, id=f"shadow-{turn.request.id}", save=False)
        texts: list[str] = []
        async with self._engine.generate(member.entry, [request], tenant=OWNER) as generation:
            while True:
                match await generation.get():
                    case Delta(text=text):
                        texts.append(text)
                    case Failed(error=error):
                        raise errors.FiresideError.from_dict(error)
                    case Finished():
                        return "".join(texts)


def _body(turn: _Turn, large: str) -> dict[str, Any]:
    prompt = turn.request.prompt
    assert isinstance(prompt, ChatPrompt)  # noqa: S101
    return {
        "id": turn.request.id,
        "kind": turn.route["features"]["kind"],
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "tier": turn.route["tier"],
        "doubt": turn.route["doubt"],
        "max_tokens": turn.request.max_tokens,
        "sampling": asdict(turn.request.sampling),
        "text": turn.text,
        "large_text": large,
    }
