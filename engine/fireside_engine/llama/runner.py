"""Executes steps on the real model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fireside_engine.core.state_rows import Rows, RowsUse
from fireside_engine.core.step import Cut, Drawn, Phase, Restore, Result, Step
from fireside_engine.errors import FiresideError, InternalError
from fireside_engine.llama.context import Context
from fireside_engine.llama.state import StateAccess

log = logging.getLogger(__name__)

_NO_SLOT = 1
"""llama_decode: no room for the batch in KV; nothing was changed."""


Keep = Callable[[Cut, list[Rows], bytes | None], bool]


@dataclass(frozen=True, slots=True)
class Stored:
    """KV as it comes back from disk."""

    rows: list[RowsUse]
    state: bytes | memoryview | None
    """The checkpoint, where the memory needs one."""


class LlamaRunner:
    """Turns a Step into one llama_decode and one draw for each chunk that asks."""

    def __init__(self, context: Context, state: StateAccess | None = None, keep: Keep | None = None) -> None:
        """keep: takes what is cut out of KV, at once; it returns False when it cannot."""
        self._context = context
        self._state = state
        self._keep = keep

    def execute(self, step: Step) -> Result:
        """Never raises for what a request can cause: failures are part of the result."""
        started = time.perf_counter()
        context = self._context
        for copy in step.copies:
            if self._state is None or not self._state.copy(copy.source, copy.target, copy.length):
                return self._failed(started, f"KV of slot {copy.source} cannot be copied")
        for slot, length in step.trim:
            if not context.trim(slot, length):
                return self._failed(started, f"KV of slot {slot} cannot be cut at {length}")
        if step.phase is Phase.SAVE:
            return Result((), started, time.perf_counter(), kept=tuple(map(self._cut, step.cuts)))
        if step.restore is not None:
            return Result((), started, time.perf_counter(), restored=self._restore(step.restore))
        outputs = [context.add(c.slot, c.start, c.tokens, 1 if c.draw else 0) for c in step.chunks]
        status = context.decode()
        if status != 0:
            words = "the KV cache has no room for it" if status == _NO_SLOT else f"llama_decode gave {status}"
            return self._failed(started, words)
        drawn: list[tuple[int, Drawn | dict[str, Any]]] = []
        for chunk, index in zip(step.chunks, outputs, strict=True):
            if chunk.draw is not None:
                drawn.append((chunk.slot, self._draw(chunk.draw, context.logits(index))))
        return Result(tuple(drawn), started, time.perf_counter())

    def rest(self) -> None:
        """Give back what is only kept for speed."""
        if self._state is not None:
            self._state.release()

    def _cut(self, cut: Cut) -> bool:
        """Hand over a copy of KV; False when nobody takes it now."""
        if self._state is None or self._keep is None:
            return False
        try:
            rows = self._state.cut(cut.slot, cut.start, cut.stop, cut.n)
        except InternalError:
            log.exception("KV could not be cut out of slot %d", cut.slot)
            return False
        state = self._state.checkpoint(cut.slot) if cut.state else None
        if cut.state and state is None:
            return False
        return self._keep(cut, rows, state)

    def _restore(self, restore: Restore) -> bool:
        if self._state is None:
            return False
        payload: Stored = restore.payload
        return self._state.restore(restore.slot, payload.rows, payload.state, restore.n)

    @staticmethod
    def _draw(draw: Any, logits: Any) -> Drawn | dict[str, Any]:
        try:
            drawn: Drawn = draw.drawer.draw(logits, len(draw.history), draw.history, draw.remaining)
        except FiresideError as error:
            return error.to_dict()
        return drawn

    @staticmethod
    def _failed(started: float, words: str) -> Result:
        error = InternalError(f"A batch could not be computed: {words}.", hint="Try again; see `fireside doctor`.")
        return Result((), started, time.perf_counter(), failed=error.to_dict())
