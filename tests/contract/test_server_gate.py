"""Nothing reaches a route that the gate should have stopped; the routes are those of the application itself."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from fake_engine import Opened, Running, chat_body, running, write_model
from fireside_engine import address

OPEN = {"/health", "/fireside/hello"}


@pytest.fixture(scope="module")
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home_of_all: Path) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(home_of_all))
        write_model("small")
        with running(home_of_all / "journal") as engine:
            yield engine


@pytest.fixture(scope="module")
def guarded(home_of_all: Path) -> Iterator[Running]:
    """An engine with an API key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(home_of_all))
        write_model("small")
        with running(home_of_all / "journal", host="0.0.0.0", api_key="the-key") as engine:
            yield engine


def routes(engine: Running) -> list[tuple[str, str]]:
    """Every method and path of the application."""
    assert engine.server is not None
    app = engine.server.config.app
    found = [
        (method, route.path.replace("{name:path}", "small"))
        for route in app.routes  # type: ignore[union-attr]
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]
    assert len(found) >= 12
    return found


def refused(engine: Running, headers: dict[str, str], status: int = 403) -> None:
    for method, path in [*routes(engine), ("GET", "/nothing"), ("OPTIONS", "/v1/models")]:
        reply = engine.ask(method, path, b"{}", owner=True, headers=headers)
        assert reply.status == status, (method, path, headers)
        assert "access-control-allow-origin" not in reply.headers
        if method != "HEAD":
            assert "engine" in json.dumps(reply.json["error"]), "said by the gate, in the dialect of the path"
    assert engine.ask("GET", "/health").status == 200


HOSTS = [
    "evil.com",
    "evil.com:{port}",
    "127.0.0.1.evil.com:{port}",
    "10.0.0.5:{port}",
    "x.local:{port}",
    "127.0.0.1",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
def test_foreign_host_names_reach_no_route(engine: Running, host: str) -> None:
    refused(engine, {"Host": host.format(port=engine.port)})


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://localhost.evil.com", "chrome-extension://x"])
@pytest.mark.parametrize("site", [None, "cross-site", "same-origin"])
def test_pages_of_other_sites_reach_no_route(engine: Running, origin: str, site: str | None) -> None:
    refused(engine, {"Origin": origin} | ({"Sec-Fetch-Site": site} if site else {}))


def test_a_cross_site_request_without_an_origin_reaches_no_route(engine: Running) -> None:
    refused(engine, {"Sec-Fetch-Site": "cross-site"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_our_own_names_pass(engine: Running, host: str) -> None:
    assert engine.ask("GET", "/health", headers={"Host": f"{host}:{engine.port}"}).status == 200


def test_both_loopback_addresses_answer(engine: Running) -> None:
    try:
        connection = http.client.HTTPConnection("::1", engine.port, timeout=5)
        connection.connect()
    except OSError:
        pytest.skip("this machine has no ::1")
    connection.request("GET", "/health")
    with Opened(connection, connection.getresponse()) as opened:
        assert opened.response.status == 200


@pytest.mark.parametrize("origin", ["http://localhost:3000", "vscode-webview://abc", "app://obsidian.md"])
def test_allowed_origins_pass_with_exactly_one_header_that_lets_them_read(engine: Running, origin: str) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        reply = engine.ask("GET", "/v1/models", headers={"Origin": origin, **headers})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, origin)
    error = engine.chat("words=1", model="nobody")
    assert error.status == 404
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-stainless-os",
    }
    preflight = engine.ask("OPTIONS", "/v1/chat/completions", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "x-stainless-os"
    with engine.begin("GET", "/v1/models", headers={"Origin": origin}) as opened:
        assert opened.response.headers.get_all("access-control-allow-origin") == [origin]


def test_management_needs_the_token_of_the_owner(engine: Running) -> None:
    closed = [(m, p) for m, p in routes(engine) if p.startswith("/fireside/") and p not in OPEN]
    assert len(closed) >= 5
    closed += [
        ("POST", "/fireside/added-later"),
        ("GET", "/fireside/status/"),
        ("GET", "/fireside"),
        ("GET", "/fireside/"),
    ]
    keys = [None, "", "wrong", engine.token[:-1], engine.token + "x", engine.token.swapcase(), "\xff"]
    for (method, path), key in itertools.product(closed, keys):
        for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}) if key is not None else ({},):
            reply = engine.ask(method, path, b"{}", headers=headers)
            assert reply.status == 401, (method, path, key)
    assert engine.status()["pid"]


def test_hello_proves_the_engine_without_a_key(engine: Running) -> None:
    hello = engine.ask("GET", "/fireside/hello?nonce=n1").json
    assert hello["proof"] == address.prove(engine.token, "n1")
    assert engine.token not in str(hello)
    assert hello["name"] == "fireside"
    assert engine.ask("GET", "/fireside/hello").json["proof"] == ""


def test_an_api_key_is_asked_for_everywhere_but_where_it_says_so(guarded: Running) -> None:
    for method, path in [*routes(guarded), ("GET", "/nothing")]:
        reply = guarded.ask(method, path, b"{}")
        assert (reply.status == 401) == (path not in OPEN), (method, path)
    for headers in ({"Authorization": "Bearer the-key"}, {"authorization": "bearer the-key"}, {"x-api-key": "the-key"}):
        assert guarded.ask("GET", "/v1/models", headers=headers).status == 200
        assert guarded.ask("GET", "/fireside/status", headers=headers).status == 401
    assert guarded.ask("GET", "/v1/models", owner=True).status == 200
    assert guarded.ask("GET", "/v1/models", headers={"Authorization": "Bearer "}).status == 401


def test_bodies_have_a_limit(engine: Running) -> None:
    limit = 32 * 1024 * 1024
    reply = engine.ask("POST", "/v1/chat/completions", b"x" * (limit + 1))
    assert reply.status == 413
    assert reply.json["error"]["code"] == "too_large"
    assert engine.ask("POST", "/v1/chat/completions", b"[" + b" " * (limit - 2) + b"]").status == 400


def test_chunked_bodies_have_the_same_limit(engine: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=20)
    mebibyte = b" " * (1024 * 1024)
    connection.request("POST", "/v1/chat/completions", body=(mebibyte for _ in range(33)), encode_chunked=True)
    with Opened(connection, connection.getresponse()) as opened:
        assert opened.response.status == 413


def test_a_body_that_stands_still_is_given_up(home: Path) -> None:
    write_model("small")
    with running(home / "journal", body_timeout=0.3) as engine:
        with socket.create_connection(("127.0.0.1", engine.port), timeout=5) as stuck:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{engine.port}\r\nContent-Length: 100\r\n\r\n{{"
            )
            stuck.sendall(head.encode())
            assert stuck.recv(1000).startswith(b"HTTP/1.1 400")
        assert engine.ask("GET", "/health").status == 200


def test_requests_that_are_no_http_harm_nobody(engine: Running) -> None:
    port = engine.port
    for raw in (
        b"\x16\x03\x01hello tls\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.com\r\n\r\n".encode(),
        f"GET http://evil.com/health HTTP/1.1\r\nHost: evil.com:{port}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nX: {'x' * 200_000}\r\n\r\n".encode(),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(raw)
            status = connection.recv(100).split()[1]
            assert status in (b"400", b"403", b"404"), raw[:60]
    assert engine.chat("words=1").status == 200


def test_prompts_stay_out_of_the_log(engine: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = "swordfish"
    engine.chat(f"{secret} words=1")
    engine.chat(f"{secret} crash=SIGKILL")
    engine.chat(f"{secret} garbage=1", stream=True)
    engine.ask("POST", "/v1/chat/completions", chat_body(secret, temperature=secret))
    engine.ask("POST", "/v1/chat/completions", f'{{"{secret}'.encode())
    assert "small" in caplog.text
    assert secret not in caplog.text
