"""Answers that end before their model does: editors have no use for text that comes late, or leaves the block."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from fireside_engine.core.events import Delta, Finished, FinishReason, Started
from fireside_engine.core.indent import IndentGuard
from fireside_engine.server.inbox import Item
from fireside_engine.server.meter import Meter


class EarlyEnd:
    """Stands between a generation and its answer.

    predict_ms: after so long from the first token on, an answer ends with its line; None is no limit.
    indent: an answer ends before a line with less indentation; 0 is no limit.
    """

    def __init__(
        self, predict_ms: float | None, indent: int, meter: Meter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._predict_ms = predict_ms
        self._indent = indent
        self._meter = meter
        self._clock = clock
        self._guards: dict[str, IndentGuard] = {}
        self._began: dict[str, float] = {}
        self._n_prompt: dict[str, int] = {}
        self._has_line: set[str] = set()
        self._ended: set[str] = set()

    def passed(self, item: Item, cancel: Callable[[str], None]) -> list[Item]:
        """What of `item` belongs to the answer, and its end where that is here."""
        match item:
            case Started(request_id=request_id, n_prompt=n_prompt):
                self._n_prompt[request_id] = n_prompt
            case Delta(request_id=request_id):
                if request_id in self._ended:
                    return []
                shown = self._guarded(item)
                if self._is_over(item):
                    cancel(request_id)
                    self._ended.add(request_id)
                    self._meter.see(item)
                    timings = self._meter.timings(request_id)
                    end = Finished(request_id, FinishReason.LENGTH, self._n_prompt.get(request_id, 0), timings)
                    return [replace(shown, n_tokens=0), end]
                return [shown]
            case Finished(request_id=request_id) if request_id in self._ended:
                return []
        return [item]

    def _guarded(self, delta: Delta) -> Delta:
        if not self._indent:
            return delta
        guard = self._guards.setdefault(delta.request_id, IndentGuard(self._indent))
        return replace(delta, text=guard.push(delta.text))

    def _is_over(self, delta: Delta) -> bool:
        guard = self._guards.get(delta.request_id)
        if guard is not None and guard.ended:
            return True
        now = self._clock()
        began = self._began.setdefault(delta.request_id, now)
        if "\n" in delta.text:
            self._has_line.add(delta.request_id)
        late = self._predict_ms is not None and (now - began) * 1e3 > self._predict_ms
        return late and delta.request_id in self._has_line
