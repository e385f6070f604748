"""An answer as its chunks arrive. Pure; what `--json` prints, `--stats` reports, and a conversation keeps."""

from __future__ import annotations

from fireside.account import Account, Ending
from fireside.thinking import Piece, ThinkSplitter
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
        self._thoughts: list[str] = []
        self._splitter = ThinkSplitter()

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def reasoning(self) -> str:
        return "".join(self._thoughts)

    @property
    def is_empty(self) -> bool:
        return not self._parts and not self._thoughts

    def add(self, chunk: JsonObject) -> list[Piece]:
        """Take a chunk in; gives its new text and thinking."""
        self.model = chunk.get("model") or self.model
        self.usage = chunk.get("usage") or self.usage
        new: list[Piece] = []
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content"):
                new.append(Piece("thinking", str(thought)))
            if text := delta.get("content"):
                new += self._splitter.feed(str(text))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if chunk.get("choices"):
            self.timings = chunk.get("timings") or self.timings
            self.fireside = chunk.get("fireside") or self.fireside
        return self._keep(new)

    def finish(self) -> list[Piece]:
        """No more chunks come; gives text that was held back."""
        return self._keep(self._splitter.finish())

    def account(self, ending: Ending, asked: str) -> Account:
        """What it cost; `asked` is the model that the request named."""
        if ending == "stop" and self.finish_reason == "length":
            ending = "length"
        return Account.of(self.timings, self.fireside, model=self.model, asked=asked, ending=ending)

    def to_json(self) -> JsonObject:
        found: JsonObject = {"text": self.text}
        if self._thoughts:
            found["reasoning"] = self.reasoning
        return {
            **found,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "timings": self.timings,
            "fireside": self.fireside,
        }

    def _keep(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            (self._thoughts if piece.kind == "thinking" else self._parts).append(piece.text)
        return pieces
