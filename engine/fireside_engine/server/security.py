"""Who may talk to the engine. Every request passes here before any route sees it.

A server on loopback is reached by more than its owner: by every web page the owner opens (through a foreign `Origin`,
or a host name that was made to point at 127.0.0.1) and by every other user of the machine. So: the host name must be
ours, pages of other sites are refused, and whatever manages the engine needs the owner's token.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fireside_engine import errors
from fireside_engine.server.responses import error_response
from fireside_engine.server.settings import Settings
from fireside_engine.server.tenants import CLIENT, MANAGER, OWNER, SCOPE, ApiKey, client_of, tenant_of

OPEN = frozenset({"/health", "/fireside/hello"})
"""Answered without any key: a client that has none yet finds out with them that the engine is here."""

MANAGEMENT = "/fireside/"
"""Everything below needs the owner's token, except what is open; a route added later is closed by default."""

_ORIGIN = re.compile(
    r"https?://(localhost|127\.0\.0\.1|\[::1\]|tauri\.localhost)(:\d{1,5})?"
    r"|(vscode-webview|vscode-file|app|tauri|file)://[a-z0-9._-]*"
)
"""Pages of this machine, and the webviews of editors. Not `null`: any web page can make itself that with a sandbox."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the gate needs to know."""

    port: int
    token: str
    """The owner's."""
    host: str = "127.0.0.1"
    """The address that the engine was told to listen on."""
    keys: tuple[ApiKey, ...] = ()
    """One of them is needed for everything that is not open, where there are any."""

    def host_allowed(self, value: str) -> bool:
        """Is this `Host` header one of ours?"""
        if self.host in ("0.0.0.0", "::"):  # noqa: S104 - listening there needs an API key, which a rebound page lacks
            return bool(value)
        name, _, port = value.lower().rpartition(":")
        if not port.isdecimal() or not name:
            name, port = value.lower(), "80"
        own = f"[{self.host}]" if ":" in self.host else self.host
        return port == str(self.port) and name in {"127.0.0.1", "localhost", "[::1]", own.lower()}


def origin_allowed(origin: str) -> bool:
    return _ORIGIN.fullmatch(origin.lower()) is not None


class Gate:
    """ASGI layer."""

    def __init__(self, app: ASGIApp, access: Access, settings: Settings) -> None:
        self._app = app
        self._access = access
        self._settings = settings
        self._bodies = Bodies(settings.bodies_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        receive = BodyLimit(receive, self._settings, self._bodies)
        origin = headers.get("origin")
        try:
            self._check_page(headers, origin)
            if scope["method"] == "OPTIONS" and origin is not None:
                await _preflight(headers)(scope, receive, _with_cors(send, origin))
                return
            key = _given_key(headers)
            scope[SCOPE] = tenant = self._check_key(scope["path"], headers)
            scope[MANAGER] = tenant_of(key, (), self._access.token) == OWNER
            scope[CLIENT] = client_of(tenant, key, headers.get("user-agent", ""))
            await self._check_body(headers, receive)
        except errors.FiresideError as error:
            await error_response(error, scope["path"])(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send if origin is None else _with_cors(send, origin))
        finally:
            receive.release()

    def _check_page(self, headers: Headers, origin: str | None) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.host_allowed(hosts[0]):
            raise errors.Forbidden("The engine does not answer to this host name.", hint="Use 127.0.0.1 or localhost.")
        if origin is not None and not origin_allowed(origin):
            raise errors.Forbidden("Web pages of other sites may not use the engine.")
        if origin is None and headers.get("sec-fetch-site", "").lower() == "cross-site":
            raise errors.Forbidden("Web pages of other sites may not use the engine.")

    def _check_key(self, path: str, headers: Headers) -> str:
        """The tenant."""
        if path in OPEN:
            return OWNER
        tenant = tenant_of(_given_key(headers), self._access.keys, self._access.token)
        if path.startswith(MANAGEMENT) or path == MANAGEMENT.rstrip("/"):
            if tenant != OWNER:
                hint = "Send the token of the runtime directory as `Authorization: Bearer …`."
                raise errors.Unauthorized("This needs the token of the engine's owner.", hint=hint)
        elif tenant is None and self._access.keys:
            hint = "Send it as `Authorization: Bearer …` or `x-api-key`."
            raise errors.Unauthorized("This engine asks for an API key.", hint=hint)
        return tenant or OWNER

    async def _check_body(self, headers: Headers, receive: BodyLimit) -> None:
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            # A few bytes may unpack to gigabytes, and no client of such an API compresses what it sends.
            hint = "Send it without Content-Encoding."
            raise errors.InvalidRequest("Compressed bodies are not read.", hint=hint, param="content-encoding")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.body_limit:
            if "expect" not in headers:
                await receive.discard()
            raise receive.too_large()


class Bodies:
    """Bytes of all requests that are here."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, n: int) -> None:
        """Raises Overloaded."""
        if self._held + n > self._limit:
            message = "The requests that are here are too large for one more."
            raise errors.Overloaded(message, hint="Try again in 5 s.", retry_after=5)
        self._held += n

    def give_back(self, n: int) -> None:
        self._held -= n


class BodyLimit:
    """`receive` with an end: neither longer than the limit, nor slower than the timeout, nor more than all may have."""

    def __init__(self, receive: Receive, settings: Settings, bodies: Bodies) -> None:
        self._receive = receive
        self._bodies = bodies
        self._rate = settings.body_rate
        self._began: float | None = None
        self._held = 0
        self._limit = settings.body_limit
        self._timeout = settings.body_timeout
        self._seen = 0
        self._more = True

    async def __call__(self) -> Message:
        if not self._more:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        # A body that drips is given up as one that stands still.
        left = self._began + self._timeout + self._seen / self._rate - now
        try:
            async with asyncio.timeout(max(0.0, min(self._timeout, left))):
                message = await self._receive()
        except TimeoutError:
            raise errors.InvalidRequest(f"Too little of the body came within {self._timeout:.0f} s.") from None
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            await self.discard()
            raise self.too_large()
        self._bodies.take(len(message.get("body", b"")))
        self._held += len(message.get("body", b""))
        return message

    def release(self) -> None:
        """The request has been answered."""
        self._bodies.give_back(self._held)
        self._held = 0

    def too_large(self) -> errors.TooLarge:
        return errors.TooLarge(f"The body is larger than {self._limit // (1024 * 1024)} MiB.", limit=self._limit)

    async def discard(self) -> None:
        """Read on for a moment: a client that is still sending would see a reset instead of the answer."""
        seen = 0
        try:
            async with asyncio.timeout(2.0):
                while self._more and seen < 4 * self._limit:
                    message = await self._receive()
                    seen += len(message.get("body", b""))
                    self._more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            return


def _given_key(headers: Headers) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key", "")


def _preflight(headers: Headers) -> Response:
    asked = headers.get("access-control-request-headers", "authorization, content-type")
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, POST, OPTIONS",
            "access-control-allow-headers": asked,
            "access-control-max-age": "600",
        },
    )


def _with_cors(send: Send, origin: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            cors = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
            message = {**message, "headers": [*message.get("headers", []), *cors]}
        await send(message)

    return sending
