"""Who is let in, whose turn it is, and who is let go because he is too slow."""

from __future__ import annotations

import gzip
import json
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fake_engine import Running, events, running, text_of, until, write_model
from fireside_engine.server.inbox import Inbox

CHAT = "/v1/chat/completions"


@pytest.fixture
def journal(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home / "journal"
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(path))
    write_model("small")
    return path


def call(prompt: str, **fields: object) -> dict[str, object]:
    return {"model": "small", "messages": [{"role": "user", "content": prompt}], **fields}


def post(engine: Running, body: bytes, *lines: str) -> socket.socket:
    """A request as bytes, on a socket whose client reads as it likes."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(20)
    made.connect(("127.0.0.1", engine.port))
    head = [f"POST {CHAT} HTTP/1.1", f"Host: localhost:{engine.port}", f"Content-Length: {len(body)}", *lines, "", ""]
    made.sendall("\r\n".join(head).encode() + body)
    return made


def test_a_client_that_floods_leaves_room_for_others(journal: Path) -> None:
    with running(journal, api_key="one\ntwo", max_waiting=10) as engine, ExitStack() as stack:
        one, two = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
        assert engine.ask("POST", CHAT, call("words=1"), headers=one).status == 200
        refused = None
        for _ in range(13):
            stack.enter_context(closing(engine.send("POST", CHAT, call("words=500 delay=0.02"), headers=one)))
        until(lambda: engine.model()["waiting"] >= 6)
        refused = engine.ask("POST", CHAT, call("words=1"), headers=one)
        assert (refused.status, refused.json["error"]["code"]) == (429, "overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        submitted = len(engine.noted("submit"))
        stack.enter_context(closing(engine.send("POST", CHAT, call("words=1"), headers=two)))
        until(lambda: len(engine.noted("submit")) == submitted + 1)


def test_who_asks_is_told_to_the_worker_by_an_opaque_name(journal: Path) -> None:
    """By key and program; what was sent is not in the name."""
    with running(journal) as engine:
        for headers in ({"User-Agent": "editor"}, {"User-Agent": "chat"}, {"User-Agent": "chat"}):
            assert engine.ask("POST", CHAT, call("who=1 words=1"), headers=headers).status == 200
        names = [line.split()[1] for line in engine.noted("client")]
    assert len(names) == 3
    assert names[1] == names[2] != names[0]
    assert "chat" not in names


def test_a_reader_that_stops_is_held_and_goes_on_when_it_reads_again(journal: Path) -> None:
    with running(journal, hold_limit=20_000) as engine:
        body = json.dumps(call("words=300 big=3000 delay=0.002", stream=True)).encode()
        with closing(post(engine, body, "Connection: close")) as slow:
            until(lambda: engine.noted("hold"))
            # A held request costs nothing, and its neighbour notices nothing.
            assert engine.chat("words=20").status == 200
            taken = b""
            while chunk := slow.recv(1 << 20):
                taken += chunk
        assert engine.noted("go")
        assert taken.count(b"x" * 3000) == 300
        assert b"[DONE]" in taken


def test_a_reader_that_never_reads_again_loses_its_slot(journal: Path) -> None:
    write_model("slots1")
    with running(journal, hold_limit=20_000, send_timeout=0.5) as engine:
        body = json.dumps({**call("words=100000 big=3000", stream=True), "model": "slots1"}).encode()
        with closing(post(engine, body)):
            until(lambda: engine.noted("hold"))
            until(lambda: engine.noted("cancel"))
            assert engine.chat("words=1", model="slots1").status == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_headers_that_do_not_come_are_given_up(journal: Path, sent: bytes) -> None:
    with running(journal, head_timeout=0.3) as engine:
        with closing(socket.create_connection(("127.0.0.1", engine.port), timeout=10)) as slow:
            slow.sendall(sent)
            answer = slow.recv(100)
            assert answer.startswith(b"HTTP/1.1 408") if sent else answer == b""
        with closing(socket.create_connection(("127.0.0.1", engine.port), timeout=10)) as used:
            # The same after a request that was answered.
            whole = f"GET /health HTTP/1.1\r\nHost: localhost:{engine.port}\r\n\r\n".encode()
            used.sendall(whole)
            time.sleep(0.5)
            used.sendall(whole + b"GET /he")
            answers = b""
            while chunk := used.recv(1000):
                answers += chunk
            assert [part.split()[0] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"408"]


def test_a_body_that_drips_is_given_up(journal: Path) -> None:
    """Each byte comes in time, and all of them never would."""
    with running(journal, body_timeout=0.5, body_rate=1000) as engine, ExitStack() as stack:
        slow = stack.enter_context(closing(socket.create_connection(("127.0.0.1", engine.port), timeout=10)))
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost:{engine.port}\r\nContent-Length: 100000\r\n\r\n"
        slow.sendall(head.encode())
        slow.setblocking(False)
        answer = b""
        for _ in range(100):
            try:
                answer = slow.recv(1000)
                break
            except BlockingIOError:
                slow.send(b" ")
                time.sleep(0.05)
        assert answer.startswith(b"HTTP/1.1 400")


def test_idle_connections_leave_for_new_ones(journal: Path) -> None:
    with running(journal, max_connections=8) as engine, ExitStack() as stack:
        idle = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", engine.port), timeout=10)))
            for _ in range(20)
        ]
        assert engine.chat("words=1").status == 200
        assert idle[0].recv(10) == b""
        # Those that are answered stay, and one more is told so.
        held = [stack.enter_context(closing(engine.send_chat("words=500 delay=0.02"))) for _ in range(8)]
        until(lambda: len(engine.noted("submit")) == 9)
        with closing(socket.create_connection(("127.0.0.1", engine.port), timeout=10)) as late:
            assert late.recv(100).startswith(b"HTTP/1.1 503")
        for each in held:
            each.close()
        until(lambda: engine.server is not None and len(engine.server.server_state.connections) < 8)
        assert engine.chat("words=1").status == 200


def test_who_waited_long_enough_for_a_load_is_told_to_come_back(journal: Path) -> None:
    write_model("slow")
    with running(journal, load_patience=0.2, header_wait=0.1) as engine:
        reply = engine.chat("words=1", model="slow")
        assert (reply.status, reply.json["error"]["code"]) == (503, "still_loading")
        assert reply.headers["retry-after"] == "10"
        streamed = engine.begin_chat("words=1", "slow", stream=True).read()
        assert "still_loading" in str(events(streamed)[-1]) or text_of(events(streamed)) == "w0 "
        # The load went on.
        until(lambda: engine.model("slow")["state"] == "ready")
        assert engine.chat("words=1", model="slow").status == 200


def test_compressed_bodies_are_refused_before_they_are_unpacked(journal: Path) -> None:
    with running(journal) as engine:
        bomb = gzip.compress(json.dumps(call("words=1" + " " * 10_000_000)).encode())
        for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
            reply = engine.ask("POST", CHAT, bomb, headers={"Content-Encoding": coding})
            assert (reply.status, "ompressed" in reply.json["error"]["message"]) == (400, True)
        assert engine.ask("POST", CHAT, call("words=1"), headers={"Content-Encoding": "identity"}).status == 200


def test_all_bodies_together_have_a_limit(journal: Path) -> None:
    with running(journal, bodies_limit=3_000_000) as engine:
        large = "words=200 delay=0.02 " + " " * 1_000_000
        held = [engine.send("POST", CHAT, call(large)) for _ in range(2)]
        until(lambda: len(engine.noted("submit")) == 2)
        reply = engine.ask("POST", CHAT, call(large))
        assert (reply.status, reply.json["error"]["code"]) == (429, "overloaded")
        assert "retry-after" in reply.headers
        for each in held:
            each.close()
        until(lambda: len(engine.noted("cancel")) == 2)
        assert engine.chat("words=1").status == 200


def test_holding_begins_and_ends_once_each_time() -> None:
    from fireside_engine.core.events import Delta

    told: list[bool] = []
    inbox = Inbox(10_000, lambda: None, 1000, told.append)
    for _ in range(2):
        for _ in range(20):
            inbox.put(Delta("r", "x" * 100, 1))
        assert told[-1] is True
        while inbox.take() is not None:
            pass
    assert told == [True, False, True, False]
