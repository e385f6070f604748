"""HTTP and server-sent events as bytes in, objects out, without any I/O.

Both clients drive an `Exchange`, the blocking one from a socket and the asyncio one from a stream, so that there is one
reading of the protocol. It understands what the engine sends (lengths, chunks, or a body until the connection ends)
and is no general HTTP client: one request on one connection, JSON or events in the answer, no redirects or encodings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from fireside_engine import __version__

JsonObject = dict[str, Any]
"""A JSON object of the API, as the engine sent it."""

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers; whoever sends more is not our engine."""


class Endpoint(NamedTuple):
    """Where the engine listens."""

    host: str
    port: int
    token: str | None = None
    """The owner's token; set only once the listener has proven that it is this user's engine."""
    version: str = ""
    """Of the engine, where it is known."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


class EngineFailure(Exception):
    """The engine answered with an error, or did not answer."""

    UNREACHABLE = "engine_unreachable"
    """Nothing listens, or it does not answer."""
    GONE = "engine_gone"
    """The connection ended in the middle of an answer."""

    def __init__(self, error: JsonObject, status: int = 0) -> None:
        self.error = error
        """The `error` object of the API: `message`, `code`, `type`, `hint` and the error's own details."""
        self.status = status
        """HTTP status of the answer; 0 where there was none, 200 where a stream ended with the error."""
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return str(self.error.get("message") or "The engine reported an error without words.")

    @property
    def hint(self) -> str:
        return str(self.error.get("hint") or "")

    @property
    def code(self) -> str:
        return str(self.error.get("code") or "")

    @classmethod
    def unreachable(cls, endpoint: Endpoint, cause: BaseException) -> EngineFailure:
        words = str(cause) or type(cause).__name__
        return cls({"code": cls.UNREACHABLE, "message": f"The engine at {endpoint.url} does not answer: {words}."})

    @classmethod
    def gone(cls) -> EngineFailure:
        hint = "`fireside ps` shows whether it runs; a new request starts it again."
        message = "The engine went away in the middle of the answer."
        return cls({"code": cls.GONE, "message": message, "hint": hint})


def encode_request(endpoint: Endpoint, method: str, path: str, body: JsonObject | None = None) -> bytes:
    """A whole request. The connection is for it alone, because its end is how a request is cancelled."""
    content = (
        b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    )
    head = [
        f"{method} {path} HTTP/1.1",
        f"Host: {endpoint.authority}",
        f"User-Agent: fireside/{__version__}",
        "Accept: application/json, text/event-stream",
        "Connection: close",
    ]
    if endpoint.token:
        head.append(f"Authorization: Bearer {endpoint.token}")
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    elif method != "GET":
        head.append("Content-Length: 0")
    return "\r\n".join([*head, "", ""]).encode("ascii") + content


class ResponseParser:
    """Takes the bytes of one HTTP response in any pieces and gives those of its body."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        self.complete = False
        self._buffer = b""
        self._left: int | None = None
        """Body bytes still due of the length or the chunk; None: no such limit, or between chunks."""
        self._chunked = False

    def feed(self, data: bytes) -> bytes:
        """Body bytes found in `data`; empty `data` means that the connection ended. Raises EngineFailure."""
        self._buffer += data
        if self.status == 0 and not self._read_head():
            if not data:
                raise EngineFailure.gone()
            return b""
        body = self._read_chunks() if self._chunked else self._read_plain(ended=not data)
        if not data and not self.complete:
            raise EngineFailure.gone()
        return body

    def _read_head(self) -> bool:
        while True:
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD:
                raise _not_http()
            if not mark:
                return False
            self._buffer = rest
            first, *lines = head.decode("latin-1").split("\r\n")
            version, _, words = first.partition(" ")
            number = words[:3]
            if not version.startswith("HTTP/1.") or not (number.isascii() and number.isdigit() and len(number) == 3):
                raise _not_http()
            if number[0] == "1":
                continue
            self.headers = {
                name.strip().lower(): value.strip() for name, _, value in (ln.partition(":") for ln in lines)
            }
            self.status = int(number)
            self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
            length = self.headers.get("content-length")
            if length is not None and not self._chunked:
                self._left = _number(length, 10)
            return True

    def _read_plain(self, *, ended: bool) -> bytes:
        if self._left is None:
            body, self._buffer = self._buffer, b""
            self.complete = ended
            return body
        body, self._buffer = self._buffer[: self._left], b""
        self._left -= len(body)
        self.complete = self._left == 0
        return body

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while not self.complete:
            if self._left is None:
                line, mark, rest = self._buffer.partition(b"\r\n")
                if not mark:
                    if len(line) > MAX_HEAD:
                        raise _not_http()
                    break
                size = _number(line.split(b";")[0].decode("latin-1"), 16)
                self._buffer = rest
                self._left = size + 2
                # Trailers may follow the empty chunk; the connection ends after them, and nobody reads them.
                self.complete = size == 0
            piece = self._buffer[: self._left]
            self._buffer = self._buffer[len(piece) :]
            body += piece[: max(0, self._left - 2)]
            self._left -= len(piece)
            if self._left:
                break
            self._left = None
        return bytes(body)


class EventParser:
    """Takes the bytes of an event stream in any pieces and gives the data of each event. Lines end with LF or CRLF."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[str]:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        events: list[str] = []
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data).decode(errors="replace"))
                self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
        return events


class Exchange:
    """One request and its answer: send `request`, then `feed` what comes until `done`."""

    def __init__(self, endpoint: Endpoint, method: str, path: str, body: JsonObject | None = None) -> None:
        self.request = encode_request(endpoint, method, path, body)
        self.done = False
        self._response = ResponseParser()
        self._events = EventParser()
        self._body = bytearray()

    def feed(self, data: bytes) -> Iterator[JsonObject]:
        """The objects that are complete now: each chunk of a stream, or the one of a plain answer.

        Empty `data` means that the connection ended. Raises EngineFailure after the objects before it.
        """
        try:
            body = self._response.feed(data)
        except EngineFailure:
            self.done = True
            raise
        if self._streams:
            yield from self._read_events(body)
            if self._response.complete and not self.done:
                self.done = True
                raise EngineFailure.gone()
            return
        self._body += body
        if self._response.complete:
            self.done = True
            yield self._read_answer()

    @property
    def _streams(self) -> bool:
        kind = self._response.headers.get("content-type", "")
        return self._response.status == 200 and kind.startswith("text/event-stream")

    def _read_events(self, body: bytes) -> Iterator[JsonObject]:
        for text in self._events.feed(body):
            if text == "[DONE]":
                self.done = True
                return
            chunk = _parse(text)
            if isinstance(error := chunk.get("error"), dict):
                self.done = True
                raise EngineFailure(error, 200)
            yield chunk

    def _read_answer(self) -> JsonObject:
        status = self._response.status
        text = self._body.decode(errors="replace")
        if status < 400:
            return _parse(text)
        try:
            error = _parse(text).get("error")
        except EngineFailure:
            error = text.strip()[:500]
        raise EngineFailure(error if isinstance(error, dict) else {"message": str(error or f"HTTP {status}")}, status)


def _parse(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError as cause:
        raise _not_ours() from cause
    if not isinstance(value, dict):
        raise _not_ours()
    return value


def _number(text: str, base: int) -> int:
    try:
        value = int(text.strip(), base)
    except ValueError as cause:
        raise _not_http() from cause
    if value < 0:
        raise _not_http()
    return value


def _not_http() -> EngineFailure:
    return EngineFailure({"code": EngineFailure.UNREACHABLE, "message": "What listens there does not speak HTTP."})


def _not_ours() -> EngineFailure:
    return EngineFailure({"code": EngineFailure.UNREACHABLE, "message": "What listens there is no fireside engine."})
