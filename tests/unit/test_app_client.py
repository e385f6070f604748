"""Both clients against a real socket: the same answers, the same failures, and a close that cancels."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from cli_driver import serving, until
from fireside.client import AsyncEngineClient, Endpoint, EngineClient, EngineFailure
from scripted_engine import Script, ScriptedEngine

BODY = {"model": "", "messages": [{"role": "user", "content": "hi"}], "stream": True}
Chunks = list[dict[str, Any]]


def endpoint_of(engine: ScriptedEngine) -> Endpoint:
    from fireside_engine import address

    return Endpoint("127.0.0.1", engine.port, address.read_token())


def blocking(endpoint: Endpoint, count: int | None = None) -> Chunks:
    chunks = EngineClient(endpoint).chat(BODY)
    got = [next(chunks) for _ in range(count)] if count else list(chunks)
    chunks.close()
    return got


def in_a_loop(endpoint: Endpoint, count: int | None = None) -> Chunks:
    async def _ask() -> Chunks:
        chunks = AsyncEngineClient(endpoint).chat(BODY)
        got = [await anext(chunks) for _ in range(count)] if count else [chunk async for chunk in chunks]
        await chunks.aclose()
        return got

    return asyncio.run(_ask())


both = pytest.mark.parametrize("ask", [blocking, in_a_loop])
Ask = Callable[..., Chunks]


def text_of(chunks: Chunks) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@both
def test_a_stream_is_read_to_its_end(ask: Ask) -> None:
    with serving(Script(text=["He", "llö", " 漢"])) as engine:
        chunks = ask(endpoint_of(engine))
        assert text_of(chunks) == "Hellö 漢"
        assert chunks[-1]["usage"]["prompt_tokens"] == 12
        assert engine.requests == [("/v1/chat/completions", BODY)]
        assert not engine.cancelled.is_set()


@both
def test_closing_cancels(ask: Ask) -> None:
    with serving(Script(text=["a", "b"], stop_at=1, hang=True)) as engine:
        assert text_of(ask(endpoint_of(engine), 2)) == "a"
        until(engine.cancelled.is_set)


@both
@pytest.mark.parametrize(
    ("script", "code", "status"),
    [
        (Script(error={"code": "model_not_found", "message": "No."}, status=404), "model_not_found", 404),
        (Script(error={"code": "worker_crashed", "message": "Died."}, stop_at=0), "worker_crashed", 200),
        (Script(stop_at=0), EngineFailure.GONE, 0),
    ],
)
def test_failures_are_told_apart(ask: Ask, script: Script, code: str, status: int) -> None:
    with serving(script) as engine, pytest.raises(EngineFailure) as caught:
        ask(endpoint_of(engine))
    assert (caught.value.code, caught.value.status) == (code, status)


@both
def test_nobody_listens(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(EngineFailure) as caught:
        ask(Endpoint("127.0.0.1", port))
    assert caught.value.code == EngineFailure.UNREACHABLE


def test_both_manage_with_the_token() -> None:
    with serving() as engine:
        endpoint = endpoint_of(engine)
        assert EngineClient(endpoint).get("/fireside/status")["models"][0]["name"] == "tiny"
        assert EngineClient(endpoint).post("/fireside/load", {"model": "tiny"}) == {"ok": True}
        client = AsyncEngineClient(endpoint)
        assert asyncio.run(client.get("/fireside/status", timeout=10))["models"][0]["name"] == "tiny"
        assert asyncio.run(client.post("/fireside/load")) == {"ok": True}
        with pytest.raises(EngineFailure) as caught:
            EngineClient(endpoint._replace(token=None)).get("/fireside/status")
        assert caught.value.status == 401


def test_an_engine_that_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(EngineFailure):
            EngineClient(endpoint).get("/health", timeout=0.05)
        with pytest.raises(EngineFailure):
            asyncio.run(AsyncEngineClient(endpoint).get("/health", timeout=0.05))
