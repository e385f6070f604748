"""What benches of the API share: requests on real sockets, streams with their times, and what processes use."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from fireside import engine_process
from fireside.client import EngineClient


@dataclass
class Live:
    """An engine that runs, and one of its models."""

    url: str
    token: str
    model: str

    @classmethod
    def connect(cls, path: Path) -> Live:
        endpoint = engine_process.connect()
        name = str(EngineClient(endpoint).post("/fireside/register", {"path": str(path.resolve())})["name"])
        return cls(endpoint.url, endpoint.token, name)

    def open(self, path: str, body: object, headers: dict[str, str] | None = None) -> http.client.HTTPConnection:
        """The request has left."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, headers or {})
        return connection

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, bytes, float]:
        """Status, body, seconds."""
        began = time.perf_counter()
        connection = self.open(path, body, headers)
        try:
            response = connection.getresponse()
            return response.status, response.read(), time.perf_counter() - began
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("GET", "/fireside/status", headers={"Authorization": f"Bearer {self.token}"})
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
        finally:
            connection.close()

    def worker(self) -> dict[str, Any]:
        return next(model for model in self.status()["models"] if model["name"] == self.model)

    def use(self) -> dict[str, tuple[int, int, int]]:
        """MiB resident, threads and file descriptors of server and worker."""
        pids = {"server": self.status()["pid"], "worker": self.worker()["pid"]}
        found = {}
        for name, pid in pids.items():
            process = psutil.Process(pid)
            found[name] = (process.memory_info().rss >> 20, process.num_threads(), process.num_fds())
        return found


def chat(model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "ignore_eos": True, **fields}


@dataclass
class Stream:
    """A streamed chat in a thread of its own."""

    live: Live
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    text: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Stream:
        self._thread.start()
        return self

    def join(self) -> Stream:
        self._thread.join()
        return self

    def rate(self, began: float, ended: float) -> float:
        """Tokens per second between two times."""
        return sum(began <= at <= ended for at in self.times) / (ended - began)

    def _run(self) -> None:
        connection = self.live.open("/v1/chat/completions", {**self.body, "stream": True}, self.headers)
        try:
            response = connection.getresponse()
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    self.error = chunk["error"]["message"]
                for choice in chunk.get("choices", ()):
                    if said := choice["delta"].get("content"):
                        self.text += said
                        self.times.append(time.perf_counter())
        finally:
            connection.close()
