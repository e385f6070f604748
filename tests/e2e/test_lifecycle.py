"""The engine as a process: how it starts, is found, shares a home with nobody, and leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from fake_engine import Opened, Running, chat_body, events, gone, text_of, until, write_model
from fireside_engine import __version__, address

ENGINE = (sys.executable, str(Path(__file__).parent.parent / "fake_engine.py"))
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts an engine process; those that still run at the end are ended."""
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(home / "journal"))
    write_model("small")
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*ENGINE, *arguments], stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def found(process: subprocess.Popen[str]) -> Running:
    """The engine of this process, once it announced itself."""

    def mine() -> address.EngineRecord | None:
        assert process.poll() is None, process.communicate()
        record = address.read_record()
        return record if record is not None and record.pid == process.pid else None

    record = until(mine)
    token = address.read_token()
    assert token is not None
    journal = Path(os.environ["FAKE_WORKER_JOURNAL"])
    return Running(record.port, token, journal=journal)


def ended(process: subprocess.Popen[str], seconds: float = 15) -> tuple[int, str]:
    _, words = process.communicate(timeout=seconds)
    return process.returncode, words


def test_it_announces_itself_answers_and_leaves_on_request(start: Start) -> None:
    process = start("--port", "0")
    engine = found(process)
    record = address.read_record()
    assert record is not None
    assert (record.version, record.protocol, record.host) == (__version__, address.PROTOCOL, "127.0.0.1")
    assert address.runtime_dir().stat().st_mode & 0o077 == 0
    assert address.token_path().stat().st_mode & 0o077 == 0
    assert engine.ask("GET", "/fireside/hello?nonce=7").json["proof"] == address.prove(engine.token, "7")
    assert engine.chat("words=1").status == 200
    engine.ask("POST", "/fireside/stop", owner=True)
    status, words = ended(process)
    assert status == 0
    assert f"listens on http://127.0.0.1:{engine.port}" in words
    assert address.read_record() is None
    log = (address.log_dir() / "engine.log").read_text(encoding="utf-8")
    assert "loaded small" in log
    assert "the engine left" in log
    assert "words=1" not in log


def test_of_two_that_start_at_once_one_runs_and_the_other_says_where(start: Start) -> None:
    processes = [start("--port", "0") for _ in range(3)]
    until(lambda: sum(process.poll() is None for process in processes) == 1)
    (winner,) = [process for process in processes if process.poll() is None]
    engine = found(winner)
    for loser in processes:
        if loser is not winner:
            status, words = ended(loser)
            assert status == 3
            assert f"http://127.0.0.1:{engine.port}" in words
            assert f"pid {winner.pid}" in words
    assert engine.chat("words=1").status == 200


def test_a_dead_engine_leaves_nothing_in_the_way(start: Start) -> None:
    first = start("--port", "0")
    engine = found(first)
    engine.chat("words=1")
    worker = engine.model()["pid"]
    first.kill()
    first.wait()
    stale = address.read_record()
    assert stale is not None
    until(lambda: gone(worker))
    second = start("--port", "0")
    assert found(second).chat("words=1").status == 200
    # The pid of a stale record may belong to anybody by now: only the lock counts.
    second.kill()
    second.wait()
    address.write_record(address.EngineRecord(os.getpid(), "127.0.0.1", 1, "0.0.0", 1))
    assert found(start("--port", "0")).ask("GET", "/health").status == 200


def test_an_engine_of_another_version_is_named(start: Start) -> None:
    process = start("--port", "0")
    found(process)
    record = address.read_record()
    assert record is not None
    address.write_record(address.EngineRecord(record.pid, record.host, record.port, "0.0.1", record.protocol))
    status, words = ended(start("--port", "0"))
    assert status == 3
    assert "version 0.0.1" in words
    assert "fireside stop" in words


def test_a_port_that_is_taken_is_named_and_auto_finds_another(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, words = ended(start("--port", str(port)))
        assert status == 2
        assert f"Port {port} is taken by" in words
        assert "--port N" in words
    with socket.socket() as default:
        default.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Engines of other tests have it for a moment; somebody who keeps it serves as well.
        for _ in range(100):
            try:
                default.bind(("127.0.0.1", address.DEFAULT_PORT))
                default.listen()
                break
            except OSError:
                time.sleep(0.2)
        engine = found(start("--port", "auto"))
        assert engine.port != address.DEFAULT_PORT
        assert engine.ask("GET", "/health").status == 200


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "0.0.0.0"], "FIRESIDE_API_KEY"),
        (["--port", "70000"], "port"),
        (["--port", "x"], "port"),
        (["--idle-exit", "-1"], "seconds"),
        (["--unheard-of"], "unrecognized"),
    ],
)
def test_wrong_usage_is_status_two(start: Start, arguments: list[str], word: str) -> None:
    status, words = ended(start(*arguments))
    assert status == 2
    assert word in words
    assert "Traceback" not in words


def test_a_models_toml_that_cannot_be_read_is_said_in_words(start: Start) -> None:
    address.config_dir().mkdir(parents=True)
    (address.config_dir() / "models.toml").write_text("[models", encoding="utf-8")
    status, words = ended(start("--port", "0"))
    assert status == 2
    assert "models.toml" in words
    assert "Traceback" not in words
    assert address.read_record() is None


def test_it_leaves_when_nobody_needs_it(start: Start) -> None:
    process = start("--port", "0", "--idle-exit", "1")
    engine = found(process)
    assert engine.chat("words=20 delay=0.1").status == 200
    ended_at = time.monotonic()
    # Probes of an editor that is open do not keep it.
    while process.poll() is None and time.monotonic() - ended_at < 8:
        time.sleep(0.1)
        try:
            engine.ask("GET", "/health")
        except OSError:
            break
    status, _ = ended(process)
    assert status == 0
    assert time.monotonic() - ended_at >= 0.9
    assert address.read_record() is None


def test_a_client_never_meets_half_an_engine(start: Start) -> None:
    """Engines that leave at once, and a client that comes all the time: answered in full, or refused at the door."""
    answered = refused = 0
    process = start("--port", "0", "--idle-exit", "0.05")
    engine = found(process)
    body = chat_body("words=2")
    deadline = time.monotonic() + 10
    pause = 0.0
    while process.poll() is None and time.monotonic() < deadline:
        try:
            reply = engine.ask("POST", "/v1/chat/completions", body)
        except OSError:
            refused += 1
            break
        assert reply.status == 200, reply.body
        assert reply.json["choices"][0]["message"]["content"] == "w0 w1 "
        answered += 1
        pause = (pause + 0.013) % 0.1
        time.sleep(pause)
    assert answered
    assert ended(process)[0] == 0
    assert refused <= 1


def test_an_idle_engine_that_got_a_late_request_still_hears_signals(start: Start) -> None:
    """A stream through a connection that was open when the engine decided to leave."""
    process = start("--port", "0", "--idle-exit", "0.5")
    engine = found(process)
    connection = engine.send("GET", "/health")
    connection.getresponse().read()
    late = None
    while address.read_record() is not None:
        time.sleep(0.01)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(chat_body("words=9999 delay=0.02", stream=True)))
        late = connection.getresponse()
    except (OSError, HTTPException):
        # It came a moment too late, and was turned away with nothing begun.
        assert ended(process)[0] == 0
        connection.close()
        return
    with Opened(connection, late):
        process.send_signal(signal.SIGTERM)
        assert events(late.read())[-1]["error"]["code"] == "shutting_down"
    assert ended(process)[0] == 0


def test_sigterm_lets_answers_end(start: Start) -> None:
    process = start("--port", "0")
    engine = found(process)
    engine.chat("words=1")
    opened = engine.begin_chat("words=20 delay=0.02", stream=True)
    process.send_signal(signal.SIGTERM)
    assert text_of(events(opened.read())) == "".join(f"w{n} " for n in range(20))
    assert ended(process)[0] == 0


def test_what_outlasts_the_patience_ends_with_an_error_event(start: Start) -> None:
    process = start("--port", "0")
    engine = found(process)
    engine.chat("words=1")
    worker = engine.model()["pid"]
    opened = engine.begin_chat("words=9999 delay=0.02", stream=True)
    whole = engine.send_chat("words=9999 delay=0.02")
    until(lambda: len(engine.noted("start")) == 3)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    *chunks, last = events(opened.read())
    assert text_of(chunks).startswith("w0 w1 ")
    assert last["error"]["code"] == "shutting_down"
    with Opened(whole, whole.getresponse()) as answer:
        assert answer.response.status == 503
        assert json.loads(answer.response.read())["error"]["type"] == "unavailable_error"
    assert time.monotonic() - began >= 0.9
    assert ended(process)[0] == 0
    assert gone(worker)


def test_a_second_signal_ends_it_now(start: Start) -> None:
    process = start("--port", "0")
    engine = found(process)
    engine.chat("words=1")
    opened = engine.begin_chat("words=1 prefill=60", stream=True)
    until(lambda: len(engine.noted("start")) == 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert events(opened.read())[-1]["error"]["code"] == "shutting_down"
    status, words = ended(process)
    assert status == 0
    assert "Traceback" not in words


def test_an_engine_that_is_leaving_is_waited_for(start: Start) -> None:
    first = start("--port", "0")
    engine = found(first)
    engine.chat("words=1")
    opened = engine.begin_chat("words=30 delay=0.02", stream=True)
    first.send_signal(signal.SIGTERM)
    until(lambda: address.read_record() is None)
    second = start("--port", "0")
    assert text_of(events(opened.read())).count("w") == 30
    assert found(second).chat("words=1").status == 200
    assert ended(first)[0] == 0
