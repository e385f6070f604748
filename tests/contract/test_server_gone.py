"""In every dialect, whole and streamed: a client that leaves is not computed for, and its neighbour notices nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fake_engine import Running, running_apart, until

LONG = "words=2000 delay=0.01"
CHAT = [{"role": "user", "content": LONG}]
WAYS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": CHAT},
    "/chat/completions": {"messages": CHAT},
    "/v1/completions": {"prompt": LONG, "max_tokens": 2000},
    "/v1/responses": {"input": LONG},
    "/v1/messages": {"messages": CHAT, "max_tokens": 2000},
    "/api/chat": {"messages": CHAT},
    "/api/generate": {"prompt": LONG},
    "/completion": {"prompt": LONG},
    "/infill": {"input_prefix": LONG, "input_suffix": "x"},
    "/api/v0/chat/completions": {"messages": CHAT},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "slots1") as engine:
        engine.chat("words=1", model="slots1")
        yield engine


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", WAYS)
def test_leaving_frees_the_slot(engine: Running, path: str, stream: bool) -> None:
    """While it answers, while it reads the prompt, and while it waits behind somebody."""
    for prefill in ("", " prefill=60"):
        body = {**WAYS[path], "model": "slots1", "stream": stream}
        for name, value in body.items():
            body[name] = f"{value}{prefill}" if value == LONG else value
        if "messages" in body:
            body["messages"] = [{"role": "user", "content": LONG + prefill}]
        before, cancelled = len(engine.noted("submit")), len(engine.noted("cancel"))
        first, second = engine.send("POST", path, body), engine.send("POST", path, body)
        until(lambda before=before: len(engine.noted("submit")) == before + 2)
        until(lambda before=before: len(engine.noted("start")) >= 1)
        second.close()
        until(lambda cancelled=cancelled: len(engine.noted("cancel")) == cancelled + 1)
        first.close()
        until(lambda cancelled=cancelled: len(engine.noted("cancel")) == cancelled + 2)
    assert engine.chat("words=1", model="slots1").status == 200
    assert engine.server is not None
    activity = engine.server.engine.activity
    until(lambda: activity.in_flight == 0)
