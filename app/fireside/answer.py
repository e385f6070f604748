"""An answer as its chunks arrive. Pure; what `--json` prints and `--stats` reports."""

from __future__ import annotations

from fireside.wire import JsonObject


class Answer:
    """Collects the chunks of one stream."""

    def __init__(self) -> None:
        self.model = ""
        self.finish_reason: str | None = None
        self.usage: JsonObject = {}
        self.timings: JsonObject = {}
        self.fireside: JsonObject = {}
        """Route, reason, exactness and seed, as the engine says them with its last chunk."""
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def is_empty(self) -> bool:
        return not self._parts

    def add(self, chunk: JsonObject) -> str:
        """Take a chunk in; returns its new text."""
        self.model = chunk.get("model") or self.model
        self.usage = chunk.get("usage") or self.usage
        new = ""
        for choice in chunk.get("choices") or ():
            new += (choice.get("delta") or {}).get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if new:
            self._parts.append(new)
        if chunk.get("choices"):
            self.timings = chunk.get("timings") or self.timings
            self.fireside = chunk.get("fireside") or self.fireside
        return new

    def to_json(self) -> JsonObject:
        return {
            "text": self.text,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "timings": self.timings,
            "fireside": self.fireside,
        }
