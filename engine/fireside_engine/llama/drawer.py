"""Draws the tokens of one request: sampler and constraint together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fireside_engine.core.events import TokenLogprob
from fireside_engine.core.sampling import Sampler
from fireside_engine.core.step import Drawn, Logits, Tokens
from fireside_engine.errors import InternalError
from fireside_engine.llama.grammar import Matcher


class RequestDrawer:
    """Implements `core.step.Drawer`. Used by the thread that decodes."""

    def __init__(
        self,
        sampler: Sampler,
        piece: Callable[[int], bytes],
        *,
        matcher: Matcher | None = None,
        logprobs: bool = False,
    ) -> None:
        self._sampler = sampler
        self._piece = piece
        self._matcher = matcher
        self._logprobs = logprobs
        self._forced: list[int] = matcher.forced() if matcher is not None else []

    def draw(self, logits: Logits | None, position: int, history: Tokens, remaining: int) -> Drawn:
        """Raises FiresideError where nothing can be drawn."""
        matcher = self._matcher
        if matcher is None:
            return self._free(self._sampler.draw(_there(logits), position, history), logits)
        wanted = self._forced.pop(0) if self._forced else matcher.only(remaining)
        if wanted is None:
            wanted = self._sampler.draw(_there(logits), position, history, matcher.mask(remaining))
        return self._constrained(matcher, wanted, remaining, logits)

    def settle(
        self, logits: Logits, position: int, history: Tokens, remaining: int, suggested: int, tolerance: float
    ) -> Drawn:
        """Raises FiresideError where nothing can be drawn."""
        matcher = self._matcher
        if matcher is None:
            kept = self._sampler.tolerates(logits, history, None, suggested, tolerance)
            token = suggested if kept else self._sampler.replace(logits, position, history)
            return replace(self._free(token, logits), kept=token == suggested)
        if self._forced or matcher.only(remaining) is not None:
            # The constraint leaves nothing to be tolerant of.
            drawn = self.draw(logits, position, history, remaining)
            return replace(drawn, kept=drawn.token == suggested)
        mask = matcher.mask(remaining)
        kept = self._sampler.tolerates(logits, history, mask, suggested, tolerance)
        wanted = suggested if kept else self._sampler.replace(logits, position, history, mask)
        drawn = self._constrained(matcher, wanted, remaining, logits)
        return replace(drawn, kept=drawn.token == suggested)

    def _free(self, token: int, logits: Logits | None) -> Drawn:
        return Drawn(token, self._logprob(logits, token) if self._logprobs else None)

    def _constrained(self, matcher: Matcher, wanted: int, remaining: int, logits: Logits | None) -> Drawn:
        token = matcher.accept(wanted, remaining)
        if token != wanted or not self._forced:
            # Forced tokens are taken as they were when the run began: a token is the same whoever asks when.
            self._forced = matcher.forced()
        forced = tuple(self._forced)
        likely = matcher.likely(forced)
        logprob = self._logprob(logits, token) if self._logprobs else None
        return Drawn(token, logprob, ended=matcher.finished, forced=forced, likely=likely)

    def guess(self, logits: Logits, position: int, history: Tokens) -> tuple[int, float]:
        """What `draw` would give without the constraint, and its probability before cuts and temperature."""
        token = self._sampler.draw(logits, position, history)
        return token, math.exp(self._sampler.logprobs(logits, token)[0])

    def _logprob(self, logits: Logits | None, token: int) -> TokenLogprob:
        logprob, top = self._sampler.logprobs(_there(logits), token)
        return TokenLogprob(token, self._piece(token), logprob, tuple((i, self._piece(i), p) for i, p in top))


def _there(logits: Logits | None) -> Logits:
    if logits is None:
        raise InternalError("A token that is not forced was to be drawn without logits.")
    return logits
