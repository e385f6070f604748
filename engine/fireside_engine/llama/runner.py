"""Executes steps on the real model."""

from __future__ import annotations

import time
from typing import Any

from fireside_engine.core.step import Drawn, Result, Step
from fireside_engine.errors import FiresideError, InternalError
from fireside_engine.llama.context import Context

_NO_SLOT = 1
"""llama_decode: no room for the batch in KV; nothing was changed."""


class LlamaRunner:
    """Turns a Step into one llama_decode and one draw for each chunk that asks."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, step: Step) -> Result:
        """Never raises for what a request can cause: failures are part of the result."""
        started = time.perf_counter()
        context = self._context
        for slot, length in step.trim:
            if not context.trim(slot, length):
                return self._failed(started, f"KV of slot {slot} cannot be cut at {length}")
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
