"""A model that is being fetched while the chat goes on: how far it is, its end, and its cancelling.

The pull is a process of its own (`fireside.pulling`); a thread reads what it tells. What it fetched stays, however it
ends, and fetching the same again goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from textual.content import Content

from fireside.failure import Failure
from fireside.pulling import Pull
from fireside.tui.screen_text import on_one_line
from fireside.wire import JsonObject
from fireside.wording import duration, size

_STAGES = {"waiting": "waiting for", "checking": "checking", "looking": "looking at"}


class Puller(Protocol):
    """One pull that runs; `fireside.pulling.Pull`, or a stand-in for it."""

    def events(self) -> Iterator[JsonObject]: ...

    def cancel(self) -> None: ...


Start = Callable[[str, str], Puller]
"""Begins to pull a model, by target and quantization."""


def start_pull(target: str, quant: str) -> Puller:
    return Pull(target, quant=quant)


@dataclass(frozen=True, slots=True)
class FetchView:
    """How far it is."""

    target: str
    stage: str = "looking"
    done: int = 0
    total: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    note: str = ""

    @classmethod
    def of(cls, target: str, event: JsonObject) -> FetchView:
        rate, left = event.get("rate"), event.get("seconds_left")
        return cls(
            target,
            str(event.get("stage") or ""),
            int(event.get("done") or 0),
            int(event.get("total") or 0),
            float(rate) if isinstance(rate, int | float) else None,
            float(left) if isinstance(left, int | float) else None,
            str(event.get("note") or ""),
        )

    def line(self, width: int) -> Content:
        """One line: a bar where the size is known, and what of the words fits."""
        head = f"{_STAGES.get(self.stage, 'fetching')} {on_one_line(self.target)}"
        speed = on_one_line(self.note) if self.note else f"{size(self.rate)}/s" if self.rate else ""
        left = f"{duration(self.seconds_left)} left" if self.seconds_left is not None else ""
        much = f"{size(self.done)} of {size(self.total)}" if self.total else ""
        cells = 20 if width >= 90 else 10 if width >= 50 else 6
        bar: list[tuple[str, str]] = []
        if self.total:
            full = round(cells * min(1.0, self.done / self.total))
            bar = [("▓" * full, "$primary"), ("░" * (cells - full), "$rule"), ("  ", "")]
        room = width - (cells + 2 if bar else 0)
        words = [word for word in (head, much, speed, left) if word]
        for least in (speed, much, left):
            if least in words and len(" · ".join(words)) > room:
                words.remove(least)
        return Content.assemble(*bar, " · ".join(words)).truncate(max(1, width), ellipsis=True)


class Fetching:
    """At most one model at a time."""

    def __init__(self, changed: Callable[[], None], start: Start = start_pull) -> None:
        self.view: FetchView | None = None
        """None while nothing is fetched."""
        self._changed = changed
        self._start = start
        self._pull: Puller | None = None
        self._cancelled = False

    async def fetch(self, target: str, quant: str = "", choose: Callable[[str], Awaitable[str]] | None = None) -> str:
        """Until it is here; gives its name, or "" if it was cancelled. `choose` finds the quantization first.

        Raises Failure.
        """
        self.view, self._cancelled = FetchView(target), False
        self._changed()
        try:
            if choose is not None:
                quant = await choose(target)
            return "" if self._cancelled else await self._fetch(target, quant)
        finally:
            self.view = self._pull = None
            self._changed()

    async def _fetch(self, target: str, quant: str) -> str:
        shown = f"{target}:{quant}" if quant and ":" not in target.removeprefix("hf:") else target
        self.view = FetchView(shown)
        self._changed()
        loop = asyncio.get_running_loop()

        def tell(event: JsonObject) -> None:
            if self.view is not None:
                self.view = FetchView.of(shown, event)
                self._changed()

        def follow() -> JsonObject:
            self._pull = self._start(target, quant)
            if self._cancelled:
                self._pull.cancel()
                return {}
            last: JsonObject = {}
            for event in self._pull.events():
                if event.get("event") == "progress":
                    loop.call_soon_threadsafe(tell, event)
                else:
                    last = event
            return last

        try:
            outcome = await asyncio.to_thread(follow)
        except (Failure, OSError, ValueError):
            # A process that was told to end may end in any way.
            if self._cancelled:
                return ""
            raise
        return str(outcome.get("name") or "")

    def cancel(self) -> bool:
        """End it; what was fetched stays. False if nothing is fetched."""
        if self.view is None:
            return False
        self._cancelled = True
        if self._pull is not None:
            self._pull.cancel()
        return True
