"""What the engine does before the first word, in one line: loading, waiting, reading the prompt. Pure."""

from __future__ import annotations

from typing import NamedTuple

from fireside.wire import JsonObject

BAR_WIDTH = 24


class Prefill(NamedTuple):
    """How far the prompt is read."""

    total: int
    cached: int
    """Tokens that need not be read again."""
    processed: int
    """Tokens done, cached ones included."""
    elapsed_ms: float

    @property
    def seconds_left(self) -> float | None:
        """None until there is a rate to tell it from."""
        done = self.processed - self.cached
        if done <= 0 or self.elapsed_ms <= 0:
            return None
        return (self.total - self.processed) * self.elapsed_ms / done / 1000

    def bar(self, width: int = BAR_WIDTH, *, blocks: bool = True) -> str:
        """Cached, read and unread tokens drawn apart."""
        was_there, done, open_ = ("▒", "▓", "░") if blocks else ("=", "#", "-")
        scale = width / max(1, self.total)
        cached = min(width, round(self.cached * scale))
        read = min(width - cached, max(0, round(self.processed * scale) - cached))
        return was_there * cached + done * read + open_ * (width - cached - read)

    def line(self, *, blocks: bool = True) -> str:
        words = f"{self.bar(blocks=blocks)} reading {self.processed:,}/{self.total:,} tokens"
        if self.cached:
            words += f", {self.cached:,} from cache"
        if (left := self.seconds_left) is not None and left >= 1:
            words += f", {left:.0f} s left"
        return words


def prefill_of(chunk: JsonObject) -> Prefill | None:
    """The prompt progress that a chunk carries, if any."""
    report = chunk.get("prompt_progress")
    if not isinstance(report, dict):
        return None
    return Prefill(
        int(report.get("total", 0)),
        int(report.get("cache", 0)),
        int(report.get("processed", 0)),
        float(report.get("time_ms", 0)),
    )


def describe(chunk: JsonObject, *, blocks: bool = True) -> str | None:
    """The status line of a chunk; None for one that reports no progress."""
    if prefill := prefill_of(chunk):
        return prefill.line(blocks=blocks)
    state = chunk.get("fireside")
    if isinstance(state, dict) and state.get("stage") == "loading":
        fraction = float(state.get("fraction") or 0)
        return f"loading {state.get('model', 'the model')}: {state.get('step', '')} {fraction:.0%}"
    return None


def event_of(chunk: JsonObject) -> list[JsonObject]:
    """What a chunk says, as the lines of `--ndjson`; nothing for its formalities."""
    found: list[JsonObject] = []
    if prefill := prefill_of(chunk):
        event: JsonObject = {"event": "progress", **prefill._asdict()}
        found.append(event)
    state = chunk.get("fireside")
    if isinstance(state, dict) and state.get("stage"):
        found.append({"event": str(state["stage"]), **{k: v for k, v in state.items() if k != "stage"}})
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        for name, event_name in (("reasoning_content", "thinking"), ("content", "text")):
            if delta.get(name):
                found.append({"event": event_name, "text": delta[name]})
    return found
