"""Draws the tokens of one request: sampler and constraint together."""

from __future__ import annotations

from collections.abc import Callable

from fireside_engine.core.events import TokenLogprob
from fireside_engine.core.sampling import Sampler
from fireside_engine.core.step import Drawn, Logits, Tokens
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

    def draw(self, logits: Logits, position: int, history: Tokens, remaining: int) -> Drawn:
        """Raises FiresideError where nothing can be drawn."""
        matcher = self._matcher
        if matcher is None:
            token = self._sampler.draw(logits, position, history)
            return Drawn(token, self._logprob(logits, token) if self._logprobs else None)
        wanted = matcher.only(remaining)
        if wanted is None:
            wanted = self._sampler.draw(logits, position, history, matcher.mask(remaining))
        token = matcher.accept(wanted)
        return Drawn(token, self._logprob(logits, token) if self._logprobs else None, ended=matcher.finished)

    def _logprob(self, logits: Logits, token: int) -> TokenLogprob:
        logprob, top = self._sampler.logprobs(logits, token)
        return TokenLogprob(token, self._piece(token), logprob, tuple((i, self._piece(i), p) for i, p in top))
