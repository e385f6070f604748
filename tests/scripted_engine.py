"""A little engine that speaks the HTTP API as told: for tests of clients, without models and without waiting.

In a test it runs as a thread (`ScriptedEngine`); as a program it stands in for the engine that a client starts, with
its lock and its record. What it does is a `Script`; as a program it takes one as JSON from the variable `SCRIPT`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fireside_engine import __version__, address

VARIABLE = "SCRIPTED_ENGINE"


@dataclass
class Script:
    """What the engine does with a request for an answer."""

    text: list[str] | None = None
    """Pieces of the answer; None answers with the last message, word for word."""
    delay: float = 0.0
    """Seconds before each piece."""
    loading: list[tuple[str, float]] = field(default_factory=list)
    progress: list[tuple[int, int, int]] = field(default_factory=list)
    """Total, cached, processed."""
    finish_reason: str = "stop"
    error: dict[str, Any] | None = None
    status: int = 200
    """With `error`: 200 sends it in the middle of the stream, anything else instead of the answer."""
    stop_at: int | None = None
    """After so many pieces the `error` comes, or the connection breaks."""
    hang: bool = False
    """At `stop_at`, wait for the client to leave instead."""
    manages: bool = True
    """Whether it knows what conversations are."""
    version: str = __version__
    protocol: int = address.PROTOCOL
    token: str | None = None
    """Prove another token than the owner's."""
    dies: str = ""
    """As a program: print this and die instead of listening."""
    slow_start: float = 0.0
    """As a program: seconds with the lock, before it listens."""


class ScriptedEngine(ThreadingHTTPServer):
    """Listens from construction to `close`; `requests` holds what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.script = script or Script()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """Path and body."""
        self.authorized: list[bool] = []
        self.cancelled = threading.Event()
        """A client left before its answer was complete."""
        self.stopped = threading.Event()
        self.loaded: list[str] = ["tiny"]
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def last_asked(self) -> dict[str, Any]:
        """The body of the newest chat request."""
        return [body for path, body in self.requests if path == "/v1/chat/completions"][-1]

    @property
    def asked(self) -> dict[str, Any]:
        """The body of the only chat request."""
        [body] = [body for path, body in self.requests if path == "/v1/chat/completions"]
        return body

    def write_record(self) -> None:
        address.write_record(
            address.EngineRecord(os.getpid(), "127.0.0.1", self.port, self.script.version, self.script.protocol)
        )

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedEngine

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        script = self.server.script
        if url.path == "/fireside/hello":
            token = script.token or address.read_token() or ""
            nonce = parse_qs(url.query)["nonce"][0]
            hello = {"name": "fireside", "version": script.version, "protocol": script.protocol, "pid": os.getpid()}
            self._answer({**hello, "proof": address.prove(token, nonce)})
        elif url.path == "/v1/models":
            models = [{"id": name, "meta": {"size": 98_000_000, "n_ctx_train": 8192}} for name in ("tiny", "other")]
            self._answer({"object": "list", "data": [{**m, "fireside": {"loaded": m["id"] == "tiny"}} for m in models]})
        elif url.path == "/fireside/status":
            if self._is_owner():
                self._answer(self._status())
        else:
            self._fail(404, {"code": "not_found", "message": f"No {url.path}."})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.server.requests.append((self.path, body))
        self.server.authorized.append(self._has_token())
        if self.path == "/v1/chat/completions":
            self._chat(body)
        elif self._is_owner():
            self._manage(body)

    def _manage(self, body: dict[str, Any]) -> None:
        if self.path == "/fireside/register":
            path = Path(body["path"])
            if path.read_bytes()[:4] != b"GGUF":
                self._fail(422, {"code": "not_a_model", "message": f"{path.name} is no GGUF.", "hint": "Use another."})
            else:
                self._answer({"name": path.stem.lower()})
        elif self.path == "/fireside/stop":
            self._answer({"stopping": True})
            self.server.stopped.set()
        elif self.path == "/fireside/cache/forget" and not self.server.script.manages:
            self._fail(404, {"code": "not_found", "message": f"No {self.path}."})
        elif self.path == "/fireside/unload" and body["model"] not in self.server.loaded:
            self._fail(404, {"code": "model_not_found", "message": f"No model {body['model']}."})
        else:
            self._answer({"ok": True})

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {address.read_token()}"

    def _is_owner(self) -> bool:
        if self._has_token():
            return True
        self._fail(401, {"code": "unauthorized", "message": "Not the owner."})
        return False

    def _status(self) -> dict[str, Any]:
        info = {"n_ctx": 8192, "n_slots": 4, "kv_type": "f16", "exact_window": 0, "memory": 300_000_000}
        model = {
            "state": "ready",
            "active": 1,
            "waiting": 0,
            "rss": 310_000_000,
            "predicted": 305_000_000,
            "info": info,
        }
        return {
            "version": self.server.script.version,
            "pid": os.getpid(),
            "uptime_s": 61,
            "idle_exit_s": 1800,
            "memory": {"total": 8_000_000_000, "available": 4_000_000_000},
            "models": [{**model, "name": name, "keep_alive_s_left": 840} for name in self.server.loaded],
        }

    def _chat(self, body: dict[str, Any]) -> None:
        script = self.server.script
        if script.error and script.status != 200:
            self._fail(script.status, script.error)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._stream(script, body)
        except (BrokenPipeError, ConnectionResetError):
            self.server.cancelled.set()
        self.close_connection = True

    def _stream(self, script: Script, body: dict[str, Any]) -> None:
        model = body["model"] or "tiny"
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        for step, fraction in script.loading:
            state = {"stage": "loading", "model": model, "step": step, "fraction": fraction}
            self._event({**base, "choices": [], "fireside": state})
        for total, cached, processed in script.progress:
            report = {"total": total, "cache": cached, "processed": processed, "time_ms": 10 * processed}
            self._event({**base, "choices": [], "prompt_progress": report})
        pieces = [body["messages"][-1]["content"]] if script.text is None else script.text
        self._event({**base, "choices": [_choice({"role": "assistant", "content": None})]})
        for number, piece in enumerate(pieces):
            if number == script.stop_at:
                break
            self._wait(script.delay)
            self._event({**base, "choices": [_choice({"content": piece})]})
        if script.stop_at is not None:
            self._break_off(script)
            return
        final = {**base, "choices": [_choice({}, script.finish_reason)]}
        self._event({**final, "timings": _timings(len(pieces)), "fireside": {"route": model, "seed": 7, "exact": True}})
        usage = {"prompt_tokens": 12, "completion_tokens": len(pieces), "total_tokens": 12 + len(pieces)}
        self._event({**base, "choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 4}}})
        self._raw(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _break_off(self, script: Script) -> None:
        if script.hang:
            self._wait(60)
        elif script.error:
            self._event({"error": script.error})
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def _wait(self, seconds: float) -> None:
        """Sleep, but notice at once that the client left."""
        if seconds and select.select([self.connection], [], [], seconds)[0]:
            raise BrokenPipeError

    def _event(self, value: dict[str, Any]) -> None:
        self._raw(b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n")

    def _raw(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, error: dict[str, Any]) -> None:
        self._answer({"error": {"type": "server_error", **error}}, status)


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _timings(n: int) -> dict[str, Any]:
    return {
        "cache_n": 4,
        "prompt_n": 8,
        "prompt_ms": 20.0,
        "prompt_per_second": 400.0,
        "predicted_n": n,
        "predicted_ms": 100.0,
        "predicted_per_second": 25.5,
        "draft_n": 0,
        "draft_n_accepted": 0,
    }


def main() -> int:
    """The engine as a program: one per home, until it is asked to stop or nobody needed it for a minute."""
    script = Script(**json.loads(os.environ.get(VARIABLE, "{}")))
    address.make_private(address.runtime_dir())
    with address.lock_path().open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another engine runs", file=sys.stderr)
            return 3
        if script.dies:
            print(script.dies, file=sys.stderr)
            return 1
        (address.runtime_dir() / f"started-{os.getpid()}").touch()
        time.sleep(script.slow_start)
        address.ensure_token()
        engine = ScriptedEngine(script)
        engine.write_record()
        engine.stopped.wait(timeout=60)
        engine.close()
        address.record_path().unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
