"""A Hugging Face hub on loopback for tests: what the real client asks it, and every way in which a server fails.

`127.0.0.1` is the hub, `localhost` on the same port the network that delivers its files, so that a token which follows
a redirect to a foreign host is noticed.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"
TOKEN = "hf_right"
PIECE = 16 * 1024
"""Bytes written at once: a cut is exact to the byte all the same."""


@dataclass
class Repo:
    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    licence: str = "apache-2.0"
    commit: str = COMMIT
    served: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of a file: other bytes than its checksum says."""
    in_git: set[str] = field(default_factory=set)
    """Files that are not in LFS, so that the hub states no SHA-256."""


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    host: str


class StandInHub:
    """The server. Change its fields while it runs."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of files that were written to sockets."""
        self.cuts: deque[int] = deque()
        """For each answer with bytes of a file, after how many of them the connection is reset."""
        self.answers: deque[int] = deque()
        """HTTP statuses for answers with bytes of files, instead of those bytes."""
        self.without_ranges = False
        self.login_page = False
        self.rate: float | None = None
        """Bytes per second of one answer."""
        self.stall = threading.Event()
        """Set: answers stop after their first piece, without an end."""
        self._stopping = threading.Event()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, repo: str, files: dict[str, bytes], **more: object) -> Repo:
        self.repos[repo] = Repo(files, **more)  # type: ignore[arg-type]
        return self.repos[repo]

    @property
    def file_requests(self) -> list[Asked]:
        return [asked for asked in self.asked if "/cdn/" in asked.path]

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        # What lies in the kernel's buffers counts as sent; the less, the better the count.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        with suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append(Asked(self.command, self.path, headers, headers.get("host", "")))
        if self.hub.login_page:
            self._send(200, b"<!doctype html><title>Please sign in</title>", type="text/html")
        elif path.startswith("/api/models/"):
            self._listing(path.removeprefix("/api/models/"))
        elif path.startswith("/cdn/"):
            self._bytes(path)
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self._refuse(404, "")

    def _repo(self, name: str) -> Repo | None:
        """The repository, or None after refusing it in the way of the real hub."""
        repo = self.hub.repos.get(name)
        sent = self.headers.get("Authorization")
        if sent and sent != f"Bearer {TOKEN}":
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not sent):
            self._refuse(404 if sent else 401, "RepoNotFound", "Repository not found")
        else:
            return repo
        return None

    def _listing(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        repo = self._repo(name)
        if repo is None:
            return
        if revision not in ("", "main", repo.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        siblings = []
        for path, data in repo.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry = {"rfilename": path, "size": len(data), "blobId": blob}
            if path not in repo.in_git:
                entry["blobId"] = hashlib.sha1(path.encode()).hexdigest()
                entry["lfs"] = {
                    "size": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "pointerSize": 134,
                }
            siblings.append(entry)
        info = {"id": name, "sha": repo.commit, "siblings": siblings, "cardData": {"license": repo.licence}}
        self._send(200, json.dumps(info).encode())

    def _resolve(self, path: str) -> None:
        name, _, rest = path[1:].partition("/resolve/")
        commit, _, file = rest.partition("/")
        repo = self._repo(name)
        if repo is None:
            return
        if repo.gated and not self.headers.get("Authorization"):
            self._refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        elif commit not in (repo.commit, "main"):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif file not in repo.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.hub.port}/cdn/{name}/{file}?signature=x")
            self.send_header("X-Repo-Commit", repo.commit)
            self.send_header("X-Linked-Size", str(len(repo.files[file])))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(repo.files[file]).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _bytes(self, path: str) -> None:
        owner, name, file = path.removeprefix("/cdn/").split("/", 2)
        repo = self.hub.repos[f"{owner}/{name}"]
        data = repo.served.get(file, repo.files[file])
        if self.hub.answers and (status := self.hub.answers.popleft()) != 200:
            self._send(status, b"busy", type="text/plain")
            return
        begin, end = 0, len(data)
        wanted = self.headers.get("Range")
        if wanted and not self.hub.without_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            if begin >= len(data):
                self._send(416, b"")
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self._stream(data[begin:end])

    def _stream(self, data: bytes) -> None:
        limit = self.hub.cuts.popleft() if self.hub.cuts else None
        began, count = time.monotonic(), 0
        while count < len(data) and not self.hub.stopping:
            piece = data[count : count + PIECE]
            if limit is not None:
                piece = piece[: limit - count]
            if not piece:
                break
            self.wfile.write(piece)
            count += len(piece)
            self.hub.sent += len(piece)
            while self.hub.stall.is_set() and not self.hub.stopping:
                self.hub.pause(0.02)
            if self.hub.rate:
                self.hub.pause(max(0.0, began + count / self.hub.rate - time.monotonic()))
        if count < len(data):
            # The client sees the end of the connection in the middle of the body.
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        more = {"X-Error-Code": code} if code else {}
        self._send(status, b"{}", **{**more, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, *, type: str = "application/json", **headers: str) -> None:  # noqa: A002
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
