"""An engine on real sockets whose workers are fake: inside a test, or as a process of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from fireside_engine import address, errors
from fireside_engine.core.footprint import HOST, DeviceBytes, Footprint, Setup
from fireside_engine.models.catalogue import default_catalogue
from fireside_engine.server.__main__ import main
from fireside_engine.server.engine import Engine
from fireside_engine.server.granting import NOTHING, Grant
from fireside_engine.server.instance import listen
from fireside_engine.server.lifecycle import EngineServer
from fireside_engine.server.security import Access
from fireside_engine.server.settings import Settings
from fireside_engine.server.tenants import read_keys
from fireside_engine.worker.protocol import LoadOptions, ModelInfo

WORKER = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))


class FakePlanner:
    """Fake workers have fake needs: as many bytes as their files. `free` says how many there are."""

    def __init__(self, free: Callable[[], int] = lambda: 1 << 40) -> None:
        self._free = free
        self.learned: list[tuple[str, str]] = []
        """What was told, and of which file."""

    def plan(
        self,
        path: Path,
        options: LoadOptions,
        free_more: Mapping[str, int] = NOTHING,
        *,
        force: bool = False,
        draft: Path | None = None,
    ) -> Grant:
        need, free = path.stat().st_size, self._free() + free_more.get(HOST, 0)
        if need > free and not force:
            raise errors.InsufficientMemory("It does not fit.", need=need, free=free, missing=need - free)
        footprint = Footprint((DeviceBytes(HOST, weights=need),))
        return Grant(options, footprint, Setup(4096), note="Loaded by force." if need > free else "")

    def lower(self, path: Path, grant: Grant) -> Grant | None:
        self.learned.append(("lower", path.stem))
        n_ctx = grant.setup.n_ctx // 2
        options, setup = replace(grant.options, n_ctx=n_ctx), replace(grant.setup, n_ctx=n_ctx)
        return replace(grant, options=options, setup=setup, note=f"Loaded with {n_ctx} tokens.")

    def loaded(self, path: Path, grant: Grant, info: ModelInfo) -> str:
        self.learned.append(("loaded", path.stem))
        return ""

    def settled(self, path: Path, grant: Grant, info: ModelInfo, resident: int) -> None:
        self.learned.append(("settled", path.stem))

    def answered(self, path: Path, grant: Grant, seconds_per_token: float, filled: int, gain: float = 1.0) -> None:
        self.learned.append(("answered", path.stem))


SETTINGS = Settings(
    worker_command=WORKER,
    drain=1.0,
    beat_timeout=5.0,
    start_grace=30.0,
    stop_grace=1.0,
    planner=FakePlanner,
    ping=0.3,
)


def write_model(name: str, weights: int = 128) -> Path:
    """The smallest file that is a model, in the models folder."""
    path = address.models_dir() / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    header += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    header += text("t") + struct.pack("<IQIQ", 1, weights // 4, 0, 0)
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(weights))
    return path


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Opened:
    """An answer whose body is still to come."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse

    def read(self) -> bytes:
        """All of it; the connection is closed."""
        with self:
            return self.response.read()

    def close(self) -> None:
        self.response.close()
        self.connection.close()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Running:
    """An engine that listens."""

    port: int
    token: str
    server: EngineServer | None = None
    journal: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: object = None, *, owner: bool = False, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request, one connection."""
        with self.begin(method, path, body, owner=owner, headers=headers) as opened:
            response = opened.response
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def begin(
        self, method: str, path: str, body: object = None, *, owner: bool = False, headers: dict[str, str] | None = None
    ) -> Opened:
        """The answer's headers have come, its body has not been read."""
        connection = self.send(method, path, body, owner=owner, headers=headers)
        try:
            return Opened(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def begin_chat(self, prompt: str, model: str = "small", **fields: Any) -> Opened:
        return self.begin("POST", "/v1/chat/completions", chat_body(prompt, model, **fields))

    def send(
        self, method: str, path: str, body: object = None, *, owner: bool = False, headers: dict[str, str] | None = None
    ) -> http.client.HTTPConnection:
        """Only the request has left."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if owner:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, data, sent)
        except BaseException:
            connection.close()
            raise
        return connection

    def send_chat(self, prompt: str, model: str = "small", **fields: Any) -> http.client.HTTPConnection:
        return self.send("POST", "/v1/chat/completions", chat_body(prompt, model, **fields))

    def chat(self, prompt: str, model: str = "small", **fields: Any) -> Reply:
        return self.ask("POST", "/v1/chat/completions", chat_body(prompt, model, **fields))

    def status(self) -> Any:
        return self.ask("GET", "/fireside/status", owner=True).json

    def model(self, name: str = "small") -> Any:
        """What the status says of a model, or None."""
        return next((model for model in self.status()["models"] if model["name"] == name), None)

    def noted(self, word: str) -> list[str]:
        """What the workers did, by the first word of the note."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.startswith(f"{word} ")]


def chat_body(prompt: str, model: str = "small", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def events(body: bytes) -> list[Any]:
    """What an event stream said, pings left out; "[DONE]" stays a string."""
    lines = [line for line in body.decode().split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines), lines
    found = [line.removeprefix("data: ") for line in lines]
    return [line if line == "[DONE]" else json.loads(line) for line in found]


def text_of(chunks: list[Any], index: int = 0) -> str:
    pieces = [
        choice["delta"].get("content") or ""
        for chunk in chunks
        if chunk != "[DONE]"
        for choice in chunk.get("choices", [])
        if choice["index"] == index
    ]
    return "".join(pieces)


def gone(pid: int) -> bool:
    """No such process, or only its exit status is left."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def until(question: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `question` answers once it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
    return answer


@contextmanager
def running(journal: Path, host: str = "127.0.0.1", api_key: str = "", **changes: Any) -> Iterator[Running]:
    """An engine in a thread of this process. The models and the home are those of the environment."""
    address.make_private(address.runtime_dir())
    settings = replace(SETTINGS, **changes)
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    engine = Running(port, address.ensure_token(), journal=journal)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        access = Access(port, engine.token, host, read_keys(api_key))
        loops.append(asyncio.get_running_loop())
        engine.server = EngineServer(Engine(default_catalogue(), settings), access, sockets)
        ready.set()
        await engine.server.run_engine()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        # Until its record is written, it still reads where its home is.
        until(lambda: engine.server is not None and engine.server.announced)
        yield engine
    finally:
        if engine.server is not None:
            for _ in range(2):
                # An engine that left by itself has closed its loop.
                with suppress(RuntimeError):
                    loops[0].call_soon_threadsafe(engine.server.ask_to_stop)
        thread.join(20)
        for made in sockets:
            made.close()
        assert not thread.is_alive()


@contextmanager
def running_apart(home: Path, *models: str, **settings: Any) -> Iterator[Running]:
    """An engine with a home of its own, for all tests of a module; what its workers did is noted."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(address.HOME_VARIABLE, str(home))
        patch.setenv("FAKE_WORKER_JOURNAL", str(home / "journal"))
        for name in models:
            write_model(name)
        with running(home / "journal", **settings) as engine:
            yield engine


if __name__ == "__main__":
    sys.exit(main(settings=SETTINGS))
