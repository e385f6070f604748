"""What arrived of one answer so far, read from the chunks of the API. Pure: the caller tells the time.

Text is kept as it came; whoever shows it cleans it. Unknown members of a chunk are ignored, because an engine of
another version may send more than this one knows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from fireside.account import Account, Ending, number_in
from fireside.progress import Prefill, prefill_of
from fireside.thinking import Piece, ThinkSplitter

RATE_WINDOW = 3.0
"""Seconds of the stream that the live speed looks at."""
FEWEST = 4
"""Pieces that it looks at in any case, for models that take seconds for each."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded before it can read."""

    model: str
    step: str
    fraction: float | None
    """Of the step; None if it is not known."""


@dataclass(slots=True)
class Reply:
    """Feed it chunks; read what to show."""

    asked: str = ""
    """The model that the request named. Its own answer needs no reason."""
    stage: Loading | Prefill | None = None
    """Before the first text."""
    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    thinking_started: float | None = None
    thinking_ended: float | None = None
    _pieces: int = 0
    _first: float = 0.0
    _last: float = 0.0
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _prefill: Prefill | None = None
    _model: str = ""
    _timings: dict[str, Any] = field(default_factory=dict)
    _extension: dict[str, Any] = field(default_factory=dict)
    _splitter: ThinkSplitter = field(default_factory=ThinkSplitter)

    def feed(self, chunk: dict[str, Any], now: float) -> list[Piece]:
        """Take a chunk; gives the text it brought."""
        self._model = str(chunk.get("model") or self._model)
        if isinstance(timings := chunk.get("timings"), dict):
            self._timings = timings
        extension = chunk.get("fireside")
        if isinstance(extension, dict):
            if extension.get("stage") == "loading":
                self.stage = Loading(
                    str(extension.get("model") or ""),
                    str(extension.get("step") or ""),
                    number_in(extension, "fraction"),
                )
            else:
                self._extension = extension
        if prefill := prefill_of(chunk):
            self.stage = self._prefill = prefill
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return []
        return self._feed_choice(choices[0], now)

    def finish(self, now: float) -> list[Piece]:
        """No more chunks come; gives text that was held back."""
        return self._keep(self._splitter.finish(), now)

    def rate(self, now: float) -> float | None:
        """Pieces per second lately; an engine sends one token per piece, or a little more."""
        while len(self._times) > FEWEST and self._times[0] < now - RATE_WINDOW:
            self._times.popleft()
        if len(self._times) < 2:
            return None
        span = max(now, self._times[-1]) - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else None

    @property
    def model(self) -> str:
        """That answers, as far as it was said."""
        return self._model

    @property
    def cached(self) -> int:
        """Tokens of the prompt that needed no reading, as far as it was said."""
        return self._prefill.cached if self._prefill else 0

    @property
    def context(self) -> int:
        """Tokens in the context so far, as far as anybody said."""
        return (self._prefill.total if self._prefill else 0) + self._pieces

    def account(self, ending: Ending) -> Account:
        found = Account.of(self._timings, self._extension, model=self._model, asked=self.asked, ending=ending)
        prefill = self._prefill
        if found.cached is None and found.prefilled is None and prefill is not None:
            found = replace(found, cached=prefill.cached, prefilled=prefill.processed - prefill.cached)
        if found.generated is None and self._pieces:
            span = self._last - self._first
            rate = (self._pieces - 1) / span if span > 0 else None
            found = replace(found, generated=self._pieces, rate=rate or None, counted_here=True)
        return found

    def _feed_choice(self, choice: dict[str, Any], now: float) -> list[Piece]:
        delta = choice.get("delta") or {}
        pieces: list[Piece] = []
        if reasoning := delta.get("reasoning_content"):
            pieces.append(Piece("thinking", str(reasoning)))
        if content := delta.get("content"):
            pieces += self._splitter.feed(str(content))
        if reasoning or content:
            self.stage = None
            self._first = self._first if self._pieces else now
            self._last = now
            self._pieces += 1
            self._times.append(now)
        if reason := choice.get("finish_reason"):
            self.finish_reason = str(reason)
        return self._keep(pieces, now)

    def _keep(self, pieces: list[Piece], now: float) -> list[Piece]:
        for piece in pieces:
            if piece.kind == "thinking":
                self.reasoning += piece.text
                self.thinking_started = now if self.thinking_started is None else self.thinking_started
            else:
                self.text += piece.text
                if self.thinking_started is not None and self.thinking_ended is None:
                    self.thinking_ended = now
        return pieces
