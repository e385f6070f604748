"""Asks the engine for one answer or one vote, and measures what it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from fireside.answer import Answer
from fireside.client import EngineClient, EngineFailure
from fireside.proving.energy import Meter
from fireside.proving.judging import Vote, question, read_vote
from fireside.proving.store import Answered
from fireside.wire import JsonObject

PASSING = frozenset({"shutting_down", "overloaded", "loading", "insufficient_memory", "unauthorized", "access_denied"})
"""Codes of failures that are no property of the prompt: a later run asks again."""


class Disturbed(Exception):
    """Somebody else needs the engine; what was asked is given up and asked again later."""


def is_of_the_prompt(failure: EngineFailure) -> bool:
    """Whether asking again would fail again."""
    return failure.status != 0 and failure.code not in PASSING and failure.code != EngineFailure.GONE


def ask(client: EngineClient, body: JsonObject, meter: Meter, is_disturbed: Callable[[], bool]) -> Answered:
    """Raises EngineFailure where asking again may help, and Disturbed."""
    answer = Answer()
    meter.take()
    began = time.monotonic()
    try:
        with closing(client.chat(body)) as chunks:
            for chunk in chunks:
                answer.add(chunk)
                if is_disturbed():
                    raise Disturbed
        answer.finish()
    except EngineFailure as failure:
        if not is_of_the_prompt(failure):
            raise
        return Answered("", time.monotonic() - began, error=f"{failure.code}: {failure.message}")
    return _answered(answer, time.monotonic() - began, meter.take())


def _answered(answer: Answer, elapsed: float, joules: float | None) -> Answered:
    own, timings = answer.fireside, answer.timings
    # Loading a model and waiting for others are no property of the arm.
    other_ms = float(own.get("load_ms") or 0.0) + float(own.get("queue_ms") or 0.0)
    route = timings.get("route")
    route = route if isinstance(route, dict) else {}
    doubt = route.get("doubt")
    features = route.get("features") or {}
    return Answered(
        answer.text,
        max(0.0, elapsed - other_ms / 1000),
        int(timings.get("predicted_n") or 0),
        int(timings.get("prompt_n") or 0),
        int(timings.get("cache_n") or 0),
        joules,
        answer.finish_reason or "",
        str(route.get("tier") or ""),
        float(doubt) if isinstance(doubt, int | float) and not isinstance(doubt, bool) else None,
        str(features.get("kind") or ""),
        bool(route.get("escalated")),
        int(route.get("kept_n") or 0),
        int(route.get("deferred_n") or 0),
    )


def vote(client: EngineClient, model: str, asked: str, first: str, second: str) -> Vote:
    """What the judge says of two answers. Raises EngineFailure."""
    body = {**question(asked, first, second), "model": model, "seed": 1, "fireside": {"save": False}}
    try:
        (found,) = client.chat(body)
    except EngineFailure as failure:
        if not is_of_the_prompt(failure):
            raise
        return Vote(None)
    return read_vote(found)
