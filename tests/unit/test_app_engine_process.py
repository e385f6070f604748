"""Finding, starting and stopping the engine: who it is, when there are several candidates or none."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cli_driver import serving, until
from fireside import engine_process
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside_engine import address
from scripted_engine import VARIABLE, Script, ScriptedEngine

PROGRAM = Path(__file__).parents[1] / "scripted_engine.py"


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients start the scripted engine; whatever they started is stopped in the end."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr(address, "engine_command", lambda **_: [sys.executable, str(PROGRAM)])
    yield
    with suppress(Failure):
        engine_process.stop()
    for process in engine_process._started:
        process.wait(timeout=30)


def script(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)


def starts() -> int:
    return len(list(address.runtime_dir().glob("started-*")))


def test_the_running_engine_is_found_with_its_token() -> None:
    with serving() as engine:
        endpoint = engine_process.connect()
        assert (endpoint.port, endpoint.token) == (engine.port, address.read_token())


def test_none_is_started_only_to_look() -> None:
    assert engine_process.find() is None
    assert not engine_process.lock_is_held()
    assert not address.runtime_dir().exists()


def test_one_is_started_and_found_again() -> None:
    words: list[str] = []
    endpoint = engine_process.connect(status=words.append, note=pytest.fail)
    assert engine_process.connect(status=pytest.fail) == endpoint
    assert words == ["starting the engine"]
    assert starts() == 1


def test_the_record_of_a_dead_engine_is_no_engine() -> None:
    with closing(ScriptedEngine()) as engine:
        address.ensure_token()
        engine.write_record()
        dead = engine.port
    assert engine_process.find() is None
    assert engine_process.connect().port != dead


def test_a_stranger_on_the_port_never_sees_the_token() -> None:
    address.ensure_token()
    with closing(ScriptedEngine(Script(token="a guess"))) as stranger:
        stranger.write_record()
        assert engine_process.find() is None
        assert engine_process.connect().port != stranger.port
        assert not any(stranger.authorized)


def test_an_engine_of_another_version_is_used_with_one_note() -> None:
    notes: list[str] = []
    with serving(Script(version="0.0.9")):
        assert engine_process.connect(note=notes.append).version == "0.0.9"
    assert len(notes) == 1
    assert "0.0.9" in notes[0]
    assert "fireside stop" in notes[0]


def test_an_engine_of_another_protocol_is_refused_in_words_but_can_be_stopped() -> None:
    with serving(Script(version="9.0", protocol=99)) as engine:
        with pytest.raises(Failure, match=r"9\.0") as caught:
            engine_process.connect()
        assert caught.value.exit_code is ExitCode.ENGINE
        assert "fireside stop" in caught.value.hint
        engine_process.stop()
        until(engine.stopped.is_set)


def test_clients_that_start_at_once_find_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, '{"slow_start": 0.3}')
    ports: list[int] = []
    threads = [threading.Thread(target=lambda: ports.append(engine_process.connect().port)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(ports) == 3
    assert len(set(ports)) == 1
    assert starts() == 1


def test_an_engine_that_dies_at_its_start_leaves_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    address.make_private(address.log_dir())
    engine_process.output_path().write_text("the words of another day\n")
    script(monkeypatch, '{"dies": "\\u001b[31mImportError: no libgomp\\nsecond line"}')
    with pytest.raises(Failure, match="exit status 1") as caught:
        engine_process.connect()
    assert caught.value.exit_code is ExitCode.ENGINE
    assert caught.value.hint.endswith("engine.out:\n  ImportError: no libgomp\n  second line")


def test_a_runtime_directory_that_cannot_be_used_is_told_in_words(home: Path) -> None:
    (home / "runtime").write_text("a file is in the way")
    with pytest.raises(Failure, match="cannot be started") as caught:
        engine_process.connect()
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_large_log_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "MAX_LOG", 10)
    address.make_private(address.log_dir())
    engine_process.output_path().write_text("x" * 11)
    engine_process.connect()
    assert engine_process.output_path().with_suffix(".out.old").read_text() == "x" * 11


def test_stopping_waits_until_the_engine_is_gone() -> None:
    engine_process.connect()
    assert engine_process.stop()
    assert not engine_process.lock_is_held()
    assert not engine_process.stop()


def test_a_hung_engine_is_ended_by_force(tmp_path: Path) -> None:
    address.make_private(address.runtime_dir())
    address.ensure_token()
    program = tmp_path / "fireside_engine_that_hangs.py"
    program.write_text("import fcntl, signal, sys\nf = open(sys.argv[1], 'a')\nfcntl.flock(f, 2)\nsignal.pause()\n")
    process = subprocess.Popen([sys.executable, str(program), str(address.lock_path())])
    try:
        until(engine_process.lock_is_held)
        address.write_record(address.EngineRecord(process.pid, "127.0.0.1", 1, "0", address.PROTOCOL))
        assert engine_process.stop()
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_another_program_with_the_engines_old_number_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_is_engine", lambda _pid: False)
    address.make_private(address.runtime_dir())
    with address.lock_path().open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = address.EngineRecord(os.getpid(), "127.0.0.1", 1, "0", address.PROTOCOL)
        address.write_record(replace(record, version="1"))
        with pytest.raises(Failure, match="does not end"):
            engine_process.stop()


def test_processes_are_told_apart_by_what_they_run() -> None:
    with subprocess.Popen(["/bin/sleep", "30"]) as other:
        assert not engine_process._is_engine(other.pid)
        other.kill()
    assert not engine_process._is_engine(2**22 + 1)
