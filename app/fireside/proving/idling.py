"""Whether the engine has anything else to do, for work that must be in nobody's way."""

from __future__ import annotations

import time
from collections.abc import Callable

from fireside.client import EngineClient
from fireside.wire import JsonObject

LOOK = 1.0
"""Seconds between two looks at the engine while it answers us."""
QUIET = 20.0
"""Seconds without a request of somebody else before we begin again."""
_TIMEOUT = 30.0


def busy_with(status: JsonObject) -> int:
    """Requests that the engine answers or has waiting. Pure."""
    return sum(int(model.get("active") or 0) + int(model.get("waiting") or 0) for model in status.get("models") or ())


class Idle:
    """Looks at the engine's status; with `wanted` false it never waits and is never disturbed."""

    def __init__(
        self,
        client: EngineClient,
        *,
        wanted: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._clock, self._sleep = clock, sleep
        self._looked = -LOOK

    def wait(self, status: Callable[[str], None]) -> None:
        """Return once nobody needs the engine, and has not needed it for a while if it was needed. EngineFailure."""
        if not self._wanted or self._others(0) == 0:
            return
        free_since: float | None = None
        while free_since is None or self._clock() - free_since < QUIET:
            status("the engine is in use; waiting until it is idle")
            self._sleep(LOOK)
            if self._others(0):
                free_since = None
            elif free_since is None:
                free_since = self._clock()

    def is_disturbed(self) -> bool:
        """Whether somebody besides our one request needs the engine; looks at most once in LOOK seconds."""
        if not self._wanted or self._clock() - self._looked < LOOK:
            return False
        return self._others(1) > 0

    def _others(self, ours: int) -> int:
        self._looked = self._clock()
        return max(0, busy_with(self._client.get("/fireside/status", timeout=_TIMEOUT)) - ours)
