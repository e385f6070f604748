"""Requests that their model's process does not survive: after some deaths they are refused, for a while.

llama.cpp aborts on input that nobody thought of, and a client that sends such a request again and again would take the
model from everybody else. Pure: times come in, decisions go out.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from fireside_engine.core.request import Request
from fireside_engine.server.settings import Settings

_MOST = 1024
"""Shapes that are remembered."""


def shape_of(request: Request) -> str:
    """Equal for requests that ask the same; seeds do not matter to a process that dies."""
    same = replace(request, id="", sampling=replace(request.sampling, seed=0))
    return hashlib.sha256(repr(same).encode("utf-8", "surrogatepass")).hexdigest()


class Quarantine:
    """Whoever was being answered when a process died is a suspect; only who is there each time is refused."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deaths: OrderedDict[str, list[float]] = OrderedDict()

    def died(self, shape: str, now: float) -> None:
        """The process died while it answered this request."""
        limit = self._settings.load_crash_limit
        self._deaths[shape] = [*self._deaths.pop(shape, []), now][-limit:]
        while len(self._deaths) > _MOST:
            self._deaths.popitem(last=False)

    def left(self, shape: str, now: float) -> float:
        """Seconds for which the request is refused; 0 when it may be tried."""
        deaths = self._deaths.get(shape, [])
        settings = self._settings
        if len(deaths) < settings.load_crash_limit or deaths[-1] - deaths[0] > settings.poison_window:
            return 0.0
        return max(0.0, deaths[-1] + settings.broken_for - now)
