"""Nobody computes for a client that is gone, wherever its request is at that moment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from fake_engine import Opened, Running, running, until, write_model


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(home / "journal"))
    write_model("slots1")
    with running(home / "journal", buffer_limit=200_000, send_timeout=5.0) as engine:
        engine.chat("words=1", model="slots1")
        yield engine


def in_flight(engine: Running) -> int:
    assert engine.server is not None
    return engine.server.engine.activity.in_flight


LONG = "words=2000 delay=0.01"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("phase", ["decode", "prefill", "queued"])
def test_a_client_that_leaves_frees_its_slot(engine: Running, phase: str, stream: bool) -> None:
    blocker = None
    if phase == "queued":
        blocker = engine.send_chat(LONG, "slots1")
        until(lambda: len(engine.noted("start")) == 2)
    submitted = len(engine.noted("submit"))
    prompt = LONG if phase == "decode" else f"{LONG} prefill=60"
    if phase == "decode" and stream:
        client: Opened | HTTPConnection = engine.begin_chat(prompt, "slots1", stream=True)
    else:
        client = engine.send_chat(prompt, "slots1", stream=stream)
    until(lambda: len(engine.noted("submit")) == submitted + 1)
    mine = engine.noted("submit")[-1].split()[1]
    client.close()
    until(lambda: any(mine in line for line in engine.noted("cancel")))
    if blocker is not None:
        assert len(engine.noted("cancel")) == 1
        blocker.close()
    until(lambda: in_flight(engine) == 0)
    assert engine.chat("words=1", model="slots1").status == 200


def test_a_client_that_leaves_while_the_model_loads_is_never_submitted(engine: Running) -> None:
    write_model("slow")
    connection = engine.send_chat("words=1", "slow")
    until(lambda: engine.model("slow"))
    connection.close()
    until(lambda: in_flight(engine) == 0)
    until(lambda: engine.model("slow")["state"] == "ready")
    assert len(engine.noted("submit")) == 1


def test_a_client_that_does_not_read_is_cut_off_and_its_neighbour_does_not_wait(engine: Running) -> None:
    write_model("small")
    assert engine.chat("words=1").status == 200
    stuck = socket.create_connection(("127.0.0.1", engine.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"words=4000 big=50000"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{engine.port}\r\nContent-Length: {len(body)}\r\n\r\n"
    stuck.sendall(head.encode() + body)
    until(lambda: len(engine.noted("start")) == 3)
    assert engine.chat("words=50").status == 200
    mine = engine.noted("start")[2].split()[1]
    until(lambda: any(mine in line for line in engine.noted("cancel")))
    assert not any(mine in line for line in engine.noted("finish"))
    stuck.close()
    until(lambda: in_flight(engine) == 0)


def test_many_clients_that_come_and_go_leave_nothing_behind(engine: Running) -> None:
    for round_ in range(20):
        connection = engine.send_chat(LONG, "slots1", stream=bool(round_ % 2))
        time.sleep(0.001 * round_)
        connection.close()
    until(lambda: in_flight(engine) == 0)
    assert engine.model("slots1")["active"] == 0
    assert engine.chat("words=1", model="slots1").status == 200
    # The gone ones hold no slot: a whole answer came through the only one there is.
    started, ended = engine.noted("start"), engine.noted("cancel") + engine.noted("finish")
    assert {line.split()[1] for line in started} <= {line.split()[1] for line in ended}
