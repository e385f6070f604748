"""Executes steps on the real model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fireside_engine.core.speculation.verify import verify
from fireside_engine.core.state_rows import Rows, RowsUse
from fireside_engine.core.step import Chunk, Cut, Drawn, Logits, Phase, Propose, Restore, Result, Step, Tokens
from fireside_engine.errors import FiresideError, InternalError
from fireside_engine.llama.context import Context
from fireside_engine.llama.drafter import Drafter
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
    draft: StoredDraft | None = None


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """KV of the draft model that was stored with it."""

    tokens: Tokens
    rows: list[RowsUse]


class LlamaRunner:
    """Turns a Step into one llama_decode and the draws of each chunk that asks."""

    def __init__(
        self,
        context: Context,
        state: StateAccess | None = None,
        keep: Keep | None = None,
        drafter: Drafter | None = None,
        keep_draft: Keep | None = None,
    ) -> None:
        """keep: takes what is cut out of KV, at once; it returns False when it cannot. keep_draft: the same for KV of
        the draft model."""
        self._context = context
        self._state = state
        self._keep = keep
        self._keep_draft = keep_draft
        self.drafter = drafter
        """May come and go between two steps."""

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
            done = self._restore(step.restore)
            draft_n = self._restore_draft(step.restore) if done else 0
            return Result((), started, time.perf_counter(), restored=done, draft_n=draft_n)
        if step.propose is not None:
            proposed = self._propose(step.propose)
            return Result((), started, time.perf_counter(), proposed=proposed)
        first_rows = [self._add(chunk) for chunk in step.chunks]
        status = context.decode()
        if status != 0:
            words = "the KV cache has no room for it" if status == _NO_SLOT else f"llama_decode gave {status}"
            return self._failed(started, words)
        drawn: list[tuple[int, Drawn | dict[str, Any]]] = []
        for chunk, first in zip(step.chunks, first_rows, strict=True):
            tokens = verify(chunk, partial(self._logits, first))
            drawn += ((chunk.slot, token) for token in tokens)
            refused = step.phase is Phase.DECODE and len(tokens) < len(chunk.tokens)
            # At once: whoever looks at the slot next sees its own tokens only.
            if refused and not context.trim(chunk.slot, chunk.start + len(tokens)):
                return self._failed(started, f"drafts cannot be taken back from slot {chunk.slot}")
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
            state = self._state.checkpoint(cut.slot, cut.n) if cut.state else None
        except (InternalError, MemoryError):
            log.exception("KV could not be cut out of slot %d", cut.slot)
            return False
        if cut.state and state is None:
            return False
        self._cut_draft(cut)
        return self._keep(cut, rows, state)

    def _cut_draft(self, cut: Cut) -> None:
        """What the draft model knows of the same conversation goes with it. It is worth a few seconds after a restart;
        what cannot be kept is computed again."""
        drafter = self.drafter
        if drafter is None or self._keep_draft is None:
            return
        try:
            part = drafter.cut(cut.tokens)
        except (InternalError, MemoryError):
            log.exception("KV of the draft model could not be cut")
            return
        if part is not None:
            start, stop, rows = part
            own = replace(cut, slot=0, start=start, stop=stop, n=stop, tokens=cut.tokens[:stop], state=False)
            if self._keep_draft(own, rows, None):
                drafter.saved(stop)

    def _restore_draft(self, restore: Restore) -> int:
        stored: Stored = restore.payload
        if self.drafter is None or stored.draft is None:
            return 0
        try:
            return self.drafter.restore(stored.draft.tokens, stored.draft.rows)
        except MemoryError:
            log.exception("there is no memory to bring the draft model's KV back")
            return 0

    def _restore(self, restore: Restore) -> bool:
        if self._state is None:
            return False
        payload: Stored = restore.payload
        try:
            return self._state.restore(restore.slot, payload.rows, payload.state, restore.n)
        except MemoryError:
            log.exception("there is no memory to bring KV back to slot %d", restore.slot)
            self._context.trim(restore.slot, 0)
            return False

    def _propose(self, wanted: Propose) -> tuple[tuple[int, float], ...]:
        if self.drafter is None:
            return ()
        try:
            return tuple(self.drafter.propose(wanted))
        except FiresideError:
            # Without drafts the answer goes on as well.
            log.exception("the draft model failed")
            return ()

    def _logits(self, first: int, row: int) -> Logits:
        return self._context.logits(first + row)

    def _add(self, chunk: Chunk) -> int:
        """Returns the batch index of the chunk's first row."""
        draw, n = chunk.draw, len(chunk.tokens)
        outputs = draw.drafted + 1 - draw.certain if draw else 0
        padding = chunk.start + n - len(draw.history) if draw else 0
        return self._context.add(chunk.slot, chunk.start, chunk.tokens, outputs, padding) - n + 1

    @staticmethod
    def _failed(started: float, words: str) -> Result:
        error = InternalError(f"A batch could not be computed: {words}.", hint="Try again; see `fireside doctor`.")
        return Result((), started, time.perf_counter(), failed=error.to_dict())
