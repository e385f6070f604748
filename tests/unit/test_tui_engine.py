"""The engine as the app sees it, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from fireside import engine_process
from fireside.client import EngineFailure
from fireside.failure import Failure
from fireside.tui.engine import LocalEngine, Model, Running, Status
from fireside.wire import Endpoint, JsonObject

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class Server:
    """Gives its answers in turn, the last one for ever, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, JsonObject]] = []
        self.connects = 0
        self.closed = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length")), 0)
        body = json.loads(await reader.readexactly(length)) if length else {}
        self.requests.append((head.split(" HTTP")[0], body))
        status, kind, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + content)
        await writer.drain()
        if content.endswith(b"#hold"):
            await reader.read()
            self.closed.set()
        writer.close()


def events(*objects: JsonObject, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(each)}\n\n" for each in objects] + ["data: [DONE]\n\n"] * done
    return 200, "text/event-stream", "".join(lines).encode()


def plain(body: JsonObject, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(body).encode()


def run(
    monkeypatch: pytest.MonkeyPatch,
    server_of: Callable[[], Server],
    scenario: Callable[[LocalEngine, Server], Awaitable[None]],
) -> None:
    async def main() -> None:
        server = server_of()
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]

        def connect() -> Endpoint:
            server.connects += 1
            return Endpoint("127.0.0.1", port, "token")

        monkeypatch.setattr(engine_process, "connect", connect)
        async with listening:
            await scenario(LocalEngine(), server)

    asyncio.run(main())


CHUNK: JsonObject = {"choices": [{"delta": {"content": "Hi"}}]}


async def collect(engine: LocalEngine) -> list[JsonObject]:
    async with aclosing(engine.chat({"model": "m"})) as chunks:
        return [chunk async for chunk in chunks]


def test_chunks_come_through_and_the_engine_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        await engine.connect()
        assert await collect(engine) == [CHUNK]
        assert await collect(engine) == [CHUNK]
        assert server.connects == 1
        assert server.requests[0] == ("POST /v1/chat/completions", {"model": "m"})

    run(monkeypatch, lambda: Server(events(CHUNK)), scenario)


def test_an_engine_that_left_meanwhile_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        assert await collect(engine) == [CHUNK]
        assert server.connects == 2

    run(monkeypatch, lambda: Server((200, "text/event-stream", b""), events(CHUNK)), scenario)


def test_an_engine_that_dies_in_the_middle_is_a_failure_and_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        with pytest.raises(Failure) as caught:
            await collect(engine)
        assert caught.value.code == EngineFailure.GONE
        assert len(server.requests) == 1
        assert await collect(engine) == [CHUNK]
        assert server.connects == 2

    run(monkeypatch, lambda: Server(events(CHUNK, done=False), events(CHUNK)), scenario)


def test_errors_keep_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"error": {"message": "Too long.", "code": "context_exceeded", "hint": "Shorten it.", "n_ctx": 8}}

    async def scenario(engine: LocalEngine, server: Server) -> None:
        for _ in range(2):
            with pytest.raises(Failure) as caught:
                await collect(engine)
            assert (caught.value.message, caught.value.hint) == ("Too long.", "Shorten it.")
        assert server.connects == 1

    run(monkeypatch, lambda: Server(plain(error, 400), events(CHUNK, error, done=False)), scenario)


def test_closing_the_iterator_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        async with aclosing(engine.chat({})) as chunks:
            assert await anext(chunks) == CHUNK
        async with asyncio.timeout(5):
            await server.closed.wait()

    status, kind, content = events(CHUNK, done=False)
    run(monkeypatch, lambda: Server((status, kind, content + b"#hold")), scenario)


def test_models_and_status_are_read_and_unknown_shapes_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {
        "data": [
            {"id": "a", "meta": {"size": 98, "n_ctx_train": 8192}, "fireside": {"loaded": True, "source": "folder"}},
            {"id": "b", "meta": None},
            "odd",
        ]
    }
    status = {
        "memory": {"total": 16, "available": 9},
        "models": [{"name": "A", "state": "ready", "rss": 5, "keep_alive_s_left": 60, "info": {"n_ctx": 8192}}, None],
    }

    async def scenario(engine: LocalEngine, server: Server) -> None:
        assert await engine.models() == [Model("a", True, 98, 8192, "folder"), Model("b")]
        found = await engine.status()
        assert found == Status((Running("A", "ready", 8192, "", 5, 60.0),), 16, 9)
        assert found.find("a") is found.find("") is found.models[0]
        assert found.find("other") is None

    run(monkeypatch, lambda: Server(plain(models), plain(status)), scenario)


def test_loading_and_registering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        assert await engine.register(tmp_path / "m.gguf") == "m"
        assert await engine.load("", deterministic=True) == "m"
        assert server.requests == [
            ("POST /fireside/register", {"path": str(tmp_path / "m.gguf")}),
            ("POST /fireside/load", {"model": "", "deterministic": True}),
        ]

    run(monkeypatch, lambda: Server(plain({"name": "m", "model": "m"})), scenario)


def test_a_failed_start_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: LocalEngine, server: Server) -> None:
        works = engine_process.connect

        def fails() -> Endpoint:
            raise EngineFailure({"message": "No."})

        monkeypatch.setattr(engine_process, "connect", fails)
        with pytest.raises(Failure, match="No"):
            await engine.connect()
        monkeypatch.setattr(engine_process, "connect", works)
        await engine.connect()

    run(monkeypatch, lambda: Server(events(CHUNK)), scenario)
