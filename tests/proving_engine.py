"""An engine in one object, for tests of `fireside prove`: two models, one of which is worse, and an `auto` of both."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Generator
from typing import Any

from fireside.wire import EngineFailure

SMALL, LARGE = "small", "large"


def fraction(*words: object) -> float:
    """The same for the same words; 0 to 1."""
    return int(hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:8], 16) / 2**32


class Engine:
    """Speaks as `EngineClient` does. `right` knows the right answer to each question."""

    now = 0.0
    """Seconds; answers take 1 of the small model and 4 of the large one."""

    def __init__(self, right: dict[str, str], *, small_errs: float = 0.3, routes: bool = True) -> None:
        self.right = right
        self.small_errs = small_errs
        self.routes = routes
        self.asked: list[dict[str, Any]] = []
        """Bodies of all completions."""
        self.proof: dict[str, Any] | None = None
        self.before: Callable[[], None] = lambda: None
        """Called before each answer; may raise."""
        self.active = 0
        """What the status tells, besides our own request."""
        self.judge_prefers_first = 0.2
        """How much the judge likes the first place."""
        self.refuses: set[str] = set()
        """Questions that no model can take."""

    # --- what EngineClient has

    def get(self, path: str, *, timeout: float | None = None) -> dict[str, Any]:
        if path == "/fireside/status":
            return {"models": [{"name": SMALL, "active": self.active, "waiting": 0}]}
        if path == "/fireside/routing" and self.routes:
            roster = [{"name": name, "identity": f"{name}-1"} for name in (SMALL, LARGE)]
            return {"roster": roster, "proof": copy.deepcopy(self.proof)}
        raise EngineFailure({"code": "not_found", "message": f"No {path}."}, 404)

    def call(self, method: str, path: str, body: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        assert path == "/fireside/routing/proof"
        self.proof = body if method == "PUT" else None
        return {}

    def chat(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        self.before()
        self.asked.append(body)
        assert body["fireside"]["save"] is False
        question = body["messages"][-1]["content"]
        if body.get("logprobs"):
            yield self._vote(question)
            return
        if question in self.refuses:
            raise EngineFailure({"code": "context_exceeded", "message": "It is too long."}, 400)
        yield from self._answer(body, question)

    # --- how it answers

    def doubt(self, question: str) -> float:
        return fraction("doubt", question)

    def text(self, model: str, question: str) -> str:
        errs = model == SMALL and self.doubt(question) > 1 - self.small_errs
        return "no idea" if errs else self.right.get(question, f"a long answer to {question}")

    def _answer(self, body: dict[str, Any], question: str) -> Generator[dict[str, Any], None, None]:
        route: dict[str, Any] = body["fireside"].get("route") or {}
        doubt = self.doubt(question)
        tier = route.get("tier") or body["model"]
        if tier == "auto":
            small = route["mode"] != "exact" and doubt <= route["threshold"]
            tier = SMALL if small else LARGE
        Engine.now += 1.0 if tier == SMALL else 4.0
        told = {"tier": tier, "doubt": doubt, "features": {}, "escalated": False}
        yield {"model": tier, "choices": [{"index": 0, "delta": {"content": self.text(tier, question)}}]}
        timings = {"predicted_n": 5, "prompt_n": 9, **({"route": told} if body["model"] == "auto" else {})}
        done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": timings}
        yield {**done, "model": tier, "fireside": {"load_ms": 0.0, "queue_ms": 0.0}}

    def _vote(self, words: str) -> dict[str, Any]:
        """Prefers the answer that repeats the question, and the first place a little."""
        question = words.split("Question:\n")[1].split("\n\nAnswer A:")[0]
        first = words.split("Answer A:\n")[1].split("\n\nAnswer B:")[0]
        second = words.split("Answer B:\n")[1].split("\n\nWhich answer")[0]
        good = [self.right.get(question, f"a long answer to {question}") == text for text in (first, second)]
        p = min(0.98, max(0.02, 0.5 + 0.4 * (good[0] - good[1]) + self.judge_prefers_first))
        top = [{"token": "A", "logprob": math.log(p)}, {"token": "B", "logprob": math.log(1 - p)}]
        return {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": top}]}}]}
