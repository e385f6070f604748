"""One request on its way: its tokens, its text, its times. Pure state, changed by the scheduler alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fireside_engine.core.detokenizer import Detokenizer
from fireside_engine.core.divergence import Divergence
from fireside_engine.core.events import Delta, FinishReason, Timings, TokenLogprob
from fireside_engine.core.owner import Owner
from fireside_engine.core.runs import runs
from fireside_engine.core.speculation.tally import Tally
from fireside_engine.core.step import Drawer, Drawn, Tokens
from fireside_engine.core.stop import StopMachine


@dataclass(slots=True, eq=False)
class Sequence:
    """A prepared request. `prompt` has at least one token and fits the context; who prepares it sees to that."""

    request_id: str
    prompt: Tokens
    drawer: Drawer
    piece: Callable[[int], bytes]
    """Bytes of a token as they appear in text."""
    eog: Collection[int]
    """Tokens that end an answer."""
    limit: int
    """Tokens the answer may have: `max_tokens` cut to what the context leaves."""
    stops: tuple[str, ...] = ()
    submitted: float = 0.0
    scope: bytes = b""
    """KV is shared within a scope only; tenants never see each other's."""
    client: str = ""
    """Who asks: clients get their turns one after the other."""
    hasty: bool = False
    """An early answer is worth more than the bits of a first run: autocomplete keeps KV up to the very token."""
    held: bool = False
    """Its client does not keep up: nothing is drawn for it now."""
    owner: Owner | None = None
    """Save KV for this conversation; None: do not save it."""
    offer: Any = None
    """What the disk has of the prompt (core.prefix.Offer), or None."""
    opening: str = ""
    """As in `Started`."""
    tail: Any = None
    """For who made the prompt: what its answer goes on from."""
    generated: list[int] = field(default_factory=list)

    speculate: bool = True
    """Drafts may be computed for it."""
    report: bool = False
    """What is known of drafts is told with its end."""
    given: Tokens | None = None
    """An answer that a smaller model gave, as tokens: a draft of everything."""
    tolerance: float = 0.0
    """As in `Request`."""
    tells_runs: bool = False
    """Which parts of its text were drafted and accepted is told with its end."""
    accepted: set[int] = field(default_factory=set)
    """Of these, which of the generated tokens."""
    n_chars: int = 0
    """Of the text that was released."""
    greedy: bool = False
    """It draws the largest logit: drafts are accepted more often."""
    logprobs: bool = False
    constrained: bool = False
    forced: tuple[int, ...] = ()
    """Tokens that come next whatever the logits are."""
    likely: tuple[int, ...] = ()
    """Tokens that probably come next by the constraint."""
    tally: Tally = field(default_factory=Tally)

    n_generated: int = 0
    finish: FinishReason | None = None
    stop_string: str | None = None
    n_cached: int = 0
    n_restored: int = 0
    """Of the cached tokens, those that came from disk."""
    divergence: Divergence | None = None
    """Where the prompt leaves what is known."""
    cache_reason: str = ""
    """Why not more of the prompt was known, in words."""
    admitted: float | None = None
    """When it got its slot."""
    prefilled: float | None = None
    """When its prompt was computed and, with it, its first token."""
    last_token: float = 0.0
    _detokenizer: Detokenizer = field(default_factory=Detokenizer)
    _stop: StopMachine = field(init=False)
    _agrees: bool = True
    """The answer is that which was given, so far."""
    _pending_tokens: int = 0
    _pending_logprobs: list[TokenLogprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = StopMachine(self.stops)
        if len(self.prompt) == 0:
            raise ValueError("a sequence needs at least one token")
        self.prompt = np.ascontiguousarray(self.prompt, dtype=np.int32)

    @property
    def remaining(self) -> int:
        return self.limit - self.n_generated

    def advance(self, drawn: Drawn, now: float) -> Delta | None:
        """Take a token in; sets `finish` when it is the last one. Returns the text it releases, if any."""
        self.last_token = now
        self._compare(drawn)
        self.n_generated += 1
        self.generated.append(drawn.token)
        self.forced, self.likely = drawn.forced, drawn.likely
        if drawn.token in self.eog:
            return self.end(FinishReason.STOP)
        self._pending_tokens += 1
        if drawn.logprob is not None:
            self._pending_logprobs.append(drawn.logprob)
        released = self._stop.push(self._detokenizer.push(self.piece(drawn.token)))
        if released.stop is not None:
            self.finish = FinishReason.STOP
            self.stop_string = released.stop
            return self._delta(released.text)
        if drawn.ended:
            return self.end(FinishReason.STOP, released.text)
        if self.n_generated >= self.limit:
            return self.end(FinishReason.LENGTH, released.text)
        return self._delta(released.text) if released.text else None

    def _compare(self, drawn: Drawn) -> None:
        """Count what was kept of a smaller model."""
        given, i = self.given, self.n_generated
        kept = drawn.kept
        if self._agrees and given is not None and i < len(given):
            kept = self._agrees = drawn.token == int(given[i])
        if kept is not None:
            self.tally.kept += kept
            self.tally.deferred += not kept

    def end(self, reason: FinishReason, text: str = "") -> Delta | None:
        """No token follows: release what was held back."""
        self.finish = reason
        rest = self._stop.finish()
        if rest.stop is not None:
            self.finish, self.stop_string = FinishReason.STOP, rest.stop
        return self._delta(text + rest.text)

    def _delta(self, text: str) -> Delta | None:
        if not text and not self._pending_logprobs:
            return None
        self.n_chars += len(text)
        delta = Delta(self.request_id, text, self._pending_tokens, tuple(self._pending_logprobs))
        self._pending_tokens = 0
        self._pending_logprobs.clear()
        return delta

    def draft_runs(self) -> tuple[tuple[int, int], ...]:
        """See `Finished.draft_runs`."""
        return runs(map(self.piece, self.generated), self.accepted, self.n_chars) if self.tells_runs else ()

    def timings(self) -> Timings:
        """Counts of a prompt that was not wholly computed are 0: nothing is known of it but that it began."""
        if self.admitted is None:
            return Timings()
        queue_ms = (self.admitted - self.submitted) * 1e3
        if self.prefilled is None:
            return Timings(cache_n=self.n_cached, cache_disk_n=self.n_restored, queue_ms=queue_ms)
        return Timings(
            cache_n=self.n_cached,
            cache_disk_n=self.n_restored,
            cache_reason=self.cache_reason,
            prompt_n=len(self.prompt) - self.n_cached,
            prompt_ms=(self.prefilled - self.admitted) * 1e3,
            predicted_n=self.n_generated,
            predicted_ms=max(0.0, self.last_token - self.prefilled) * 1e3,
            draft_n=self.tally.n_drafted,
            draft_n_accepted=self.tally.n_accepted,
            draft_ms_won=self.tally.won_seconds * 1e3,
            draft_sources=tuple((s, n, self.tally.accepted.get(s, 0)) for s, n in self.tally.drafted.items()),
            kept_n=self.tally.kept,
            deferred_n=self.tally.deferred,
            queue_ms=queue_ms,
        )
