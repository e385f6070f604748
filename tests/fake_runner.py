"""A model that makes mistakes visible: its next token is a hash of everything in the slot's KV.

KV is kept as the real one keeps it, position by position. A single token at a wrong position, a slot mixed up, a trim
forgotten: every later token of that sequence changes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fireside_engine.core.step import Drawn, Phase, Result, Step

N_VOCAB = 1000


class FakeRunner:
    """Implements the worker's Runner. Its clock is what it computed: a token costs one unit."""

    def __init__(self, n_slots: int, n_ctx: int, n_batch: int) -> None:
        self.kv: list[list[int]] = [[] for _ in range(n_slots)]
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.now = 0.0
        self.steps: list[Step] = []
        self.fail_at: set[int] = set()
        """Numbers of the steps that fail as a whole."""

    def execute(self, step: Step) -> Result:
        self.steps.append(step)
        for slot, length in step.trim:
            assert length <= len(self.kv[slot]), "KV is cut where there is none"
            del self.kv[slot][length:]
        assert step.chunks, "an empty step"
        assert step.n_tokens <= self.n_batch, "a step larger than the batch"
        slots = [chunk.slot for chunk in step.chunks]
        assert len(slots) == len(set(slots)), "a slot stands twice in a step"
        if step.phase is Phase.PREFILL:
            assert len(step.chunks) == 1, "a prompt shares its batch"
        else:
            assert all(len(chunk.tokens) == 1 and chunk.draw for chunk in step.chunks)
        started, self.now = self.now, self.now + step.n_tokens
        if len(self.steps) - 1 in self.fail_at:
            for slot in slots:
                self.kv[slot] = self.kv[slot][: len(self.kv[slot]) // 2]
            return Result((), started, self.now, failed={"code": "internal_error", "message": "planned"})
        drawn: list[tuple[int, Drawn | dict[str, Any]]] = []
        for chunk in step.chunks:
            kv = self.kv[chunk.slot]
            assert chunk.start == len(kv), "positions are not contiguous"
            kv.extend(int(token) for token in chunk.tokens)
            assert len(kv) <= self.n_ctx, "more tokens than the context holds"
            if chunk.draw is not None:
                history = chunk.draw.history
                assert [int(token) for token in history] == kv, "the history is not what KV holds"
                logits = np.zeros(N_VOCAB, np.float32)
                logits[next_token(kv)] = 1.0
                drawn.append((chunk.slot, chunk.draw.drawer.draw(logits, len(kv), history, chunk.draw.remaining)))
        return Result(tuple(drawn), started, self.now)


def next_token(kv: list[int]) -> int:
    """What the fake model says after these tokens."""
    digest = hashlib.blake2b(np.asarray(kv, np.int32).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % N_VOCAB


class Greedy:
    """Draws the largest logit."""

    def draw(self, logits: Any, position: int, history: Any, remaining: int) -> Drawn:
        assert position == len(history)
        assert remaining >= 1
        return Drawn(int(logits.argmax()))
