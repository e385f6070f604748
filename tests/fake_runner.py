"""A model that makes mistakes visible: its next token is a hash of everything in the slot's KV.

KV is kept as the real one keeps it, position by position. A single token at a wrong position, a slot mixed up, a trim
forgotten: every later token of that sequence changes.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np

from fireside_engine.core.divergence import Divergence
from fireside_engine.core.prefix import Offer
from fireside_engine.core.speculation.verify import verify
from fireside_engine.core.step import Drawn, Phase, Restore, Result, Step

N_VOCAB = 1000


class FakeRunner:
    """Implements the worker's Runner. Its clock is what it computed: a token costs one unit."""

    def __init__(self, n_slots: int, n_ctx: int, n_batch: int) -> None:
        self.kv: list[list[int]] = [[] for _ in range(n_slots)]
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.now = 0.0
        self.steps: list[Step] = []
        self.cuttable = True
        self.n_computed = 0
        self.disk: dict[bytes, list[tuple[list[int], int, bool]]] = {}
        """What was saved: tokens, how many of them came from a prompt, and whether it is a checkpoint; by scope."""
        self.keeps = True
        self.fail_at: set[int] = set()
        """Numbers of the steps that fail as a whole."""
        self.refuse_at: set[int] = set()
        """The same, but before anything is done to KV."""

    def execute(self, step: Step) -> Result:
        self.steps.append(step)
        if len(self.steps) - 1 in self.refuse_at:
            return Result((), self.now, self.now, failed={"code": "internal_error", "message": "refused"})
        for copy in step.copies:
            source = self.kv[copy.source]
            assert copy.length <= len(source), "more is copied than there is"
            if not self.cuttable:
                assert copy.length == len(source), "a part is copied of what serves as a whole"
            self.kv[copy.target] = source[: copy.length]
        for slot, length in step.trim:
            if not self.cuttable:
                assert length in (0, len(self.kv[slot])), "KV is cut that cannot be cut"
            assert length <= len(self.kv[slot]), "KV is cut where there is none"
            del self.kv[slot][length:]
        if step.phase is Phase.SAVE:
            return self._save(step)
        if step.restore is not None:
            return self._restore(step.restore)
        assert step.chunks, "an empty step"
        assert step.n_tokens <= self.n_batch, "a step larger than the batch"
        slots = [chunk.slot for chunk in step.chunks]
        assert len(slots) == len(set(slots)), "a slot stands twice in a step"
        if step.phase is Phase.PREFILL:
            assert len(step.chunks) == 1, "a prompt shares its batch"
        else:
            assert len({len(chunk.tokens) for chunk in step.chunks}) == 1, "streams of different lengths in a batch"
            assert all(chunk.draw for chunk in step.chunks)
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
            self.n_computed += len(chunk.tokens)
            if chunk.draw is not None:
                history, drafted = chunk.draw.history, chunk.draw.drafted
                known = [int(token) for token in history]
                assert known == kv[: len(known)], "the history is not what KV holds"
                assert step.phase is Phase.DECODE or len(known) == len(kv)
                tokens = verify(chunk, lambda row, kv=kv, start=chunk.start: logits_after(kv[: start + row + 1]))
                assert 1 <= len(tokens) <= drafted + 1
                drawn += ((chunk.slot, token) for token in tokens)
                if step.phase is Phase.DECODE:
                    del kv[chunk.start + len(tokens) :]
        return Result(tuple(drawn), started, self.now)

    def rest(self) -> None:
        return

    def _save(self, step: Step) -> Result:
        assert not step.chunks
        for cut in step.cuts:
            kv = self.kv[cut.slot]
            assert cut.n == len(kv), "a cut knows the wrong length"
            assert [int(token) for token in cut.tokens] == kv[: cut.stop], "what is saved is not what KV holds"
            assert 0 <= cut.start <= cut.stop
            assert not cut.state or cut.stop == cut.n
            if self.keeps:
                self.disk.setdefault(cut.scope, []).append((kv[: cut.stop], cut.prefilled, cut.state))
        return Result((), self.now, self.now, kept=(self.keeps,) * len(step.cuts))

    def _restore(self, restore: Restore) -> Result:
        if restore.payload == "corrupt":
            self.kv[restore.slot] = []
            return Result((), self.now, self.now, restored=False)
        assert len(restore.payload) >= restore.n
        self.kv[restore.slot] = list(restore.payload[: restore.n])
        return Result((), self.now, self.now, restored=True)

    def offer(self, scope: bytes, prompt: list[int], *, checkpoints: bool = False) -> Offer | None:
        """What the fake disk has of a prompt."""
        best: tuple[int, int, list[int]] = (0, 0, [])
        states = set()
        for kv, prefilled, state in self.disk.get(scope, []):
            n = next((i for i, (a, b) in enumerate(zip(kv, prompt, strict=False)) if a != b), min(len(kv), len(prompt)))
            best = max(best, (n, min(prefilled, n), kv))
            if state and n == len(kv):
                states.add(n)
        n, prefilled, kv = best
        divergence = Divergence(n, kv[n]) if n < min(len(kv), len(prompt)) else None
        return (
            Offer(n, prefilled, tuple(sorted(states)) if checkpoints else (), divergence=divergence, handle=kv)
            if n
            else None
        )


def logits_after(kv: list[int]) -> Any:
    logits = np.zeros(N_VOCAB, np.float32)
    logits[next_token(kv)] = 1.0
    return logits


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

    def guess(self, logits: Any, position: int, history: Any) -> tuple[int, float]:
        return int(logits.argmax()), 0.9


class Prophet(Greedy):
    """Draws the largest logit, and tells what comes next, as a constraint does; what it says is right or wrong by
    chance. `forces`: sometimes it decides itself, and then says so before."""

    def __init__(self, prompt: list[int], seed: int, *, right: float, forces: bool = False) -> None:
        self._random = random.Random(seed)
        self._right = right
        self._forces = forces
        self._queue: list[int] = []

    def draw(self, logits: Any, position: int, history: Any, remaining: int) -> Drawn:
        assert position == len(history)
        assert remaining >= 1
        known = [int(token) for token in history]
        if self._queue:
            token = self._queue.pop(0)
        else:
            assert logits is not None, "a free token is drawn without logits"
            token = int(logits.argmax())
        known.append(token)
        if self._forces and not self._queue and next_token(known) % 3 == 0:
            # A function of the text alone, as in a real constraint.
            self._queue = [(token * 7 + i) % N_VOCAB for i in range(next_token(known) % 5)]
        likely = list(self._queue)
        for _ in range(self._random.randrange(12)):
            right = self._random.random() < self._right
            likely.append(next_token(known + likely) if right else self._random.randrange(N_VOCAB))
        return Drawn(token, forced=tuple(self._queue), likely=tuple(likely))
