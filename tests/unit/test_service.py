"""`fireside service`: files that systemd, launchd and the Task Scheduler read, and an engine on a socket of systemd."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.cli import main
from fireside.service_files import Wanted, launchd, systemd, task_scheduler, windows_quoted
from fireside_engine import address
from fireside_engine.server.inherited import inherited

WANTED = Wanted(["/opt/my python/bin/python", "-P", "-m", "fireside_engine.server"], 11555, {"FIRESIDE_HOME": "/h %1$"})


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    # No service manager of this machine hears of a test.
    monkeypatch.setenv("PATH", str(tmp_path))
    return folder


def test_systemd_gets_a_socket_that_starts_a_service(tmp_path: Path) -> None:
    plan = systemd(WANTED, tmp_path)
    sock, service = (file.content.decode() for file in plan.files)
    assert [file.path.name for file in plan.files] == ["fireside.socket", "fireside.service"]
    assert "ListenStream=127.0.0.1:11555\nListenStream=[::1]:11555\n" in sock
    assert 'ExecStart="/opt/my python/bin/python" "-P" "-m" "fireside_engine.server" "--port" "11555"' in service
    assert 'Environment="FIRESIDE_HOME=/h %%1$$"\n' in service
    assert "WantedBy" not in service, "the socket starts it, not the login"


def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    if verify is None:
        pytest.skip("no systemd-analyze")
    wanted = Wanted([sys.executable, "-P", "-m", "fireside_engine.server"], 11555, {"FIRESIDE_HOME": "/h"})
    plan = systemd(wanted, tmp_path)
    for file in plan.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.content)
    paths = [str(file.path) for file in plan.files]
    done = subprocess.run(
        [verify, "--user", "--man=no", "verify", *paths],
        capture_output=True, text=True, timeout=60, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "fireside" in line]
    assert ours == [], done.stderr


def test_launchd_gets_a_property_list(tmp_path: Path) -> None:
    plan = launchd(WANTED, tmp_path, 501, tmp_path / "log")
    (file,) = plan.files
    read = plistlib.loads(file.content)
    assert read["ProgramArguments"][:4] == WANTED.engine
    assert read["ProgramArguments"][-2:] == ["--idle-exit", "0"]
    assert read["EnvironmentVariables"] == {"FIRESIDE_HOME": "/h %1$"}
    assert file.path.name == f"{read['Label']}.plist"
    assert plan.enable == (("launchctl", "bootstrap", "gui/501", str(file.path)),)


def test_the_task_scheduler_gets_a_task(tmp_path: Path) -> None:
    wanted = Wanted([r"C:\Program Files\Py & Co\python.exe", "-m", "fireside_engine.server"], 11555, {})
    (file,) = task_scheduler(wanted, tmp_path, r"PC\A & B").files
    names = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    read = Xml.fromstring(file.content)
    assert read.findtext(".//t:Command", namespaces=names) == r"C:\Program Files\Py & Co\python.exe"
    assert read.findtext(".//t:Arguments", namespaces=names) == ("-m fireside_engine.server --port 11555 --idle-exit 0")
    assert read.findtext(".//t:LogonTrigger/t:UserId", namespaces=names) == r"PC\A & B"


def split(line: str) -> list[str]:
    """As `CommandLineToArgvW` does."""
    words, word, is_quoted, started, at = [], "", False, False, 0
    while at < len(line):
        slashes = len(line) - at - len(line[at:].lstrip("\\"))
        at += slashes
        if slashes and line[at : at + 1] == '"':
            word += "\\" * (slashes // 2) + ('"' if slashes % 2 else "")
            at += slashes % 2
            started = True
            continue
        if slashes:
            word, started = word + "\\" * slashes, True
            continue
        if line[at] == '"':
            is_quoted, started = not is_quoted, True
        elif line[at] in " \t" and not is_quoted:
            if started:
                words.append(word)
            word, started = "", False
        else:
            word, started = word + line[at], True
        at += 1
    return [*words, word] if started else words


@given(st.lists(st.text(st.sampled_from('a\\" \té'), max_size=8), max_size=4))
def test_words_survive_the_command_line_of_windows(words: list[str]) -> None:
    assert split(" ".join(map(windows_quoted, words))) == words


# --- the command


def files(config: Path) -> list[Path]:
    return sorted(path for path in config.rglob("*") if path.is_file())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")
def test_it_is_installed_and_uninstalled_and_switched_on_by_nobody(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "install", "--dry-run"]) == 0
    shown = capfd.readouterr().out
    assert "ListenStream=127.0.0.1:11555" in shown
    assert "systemctl --user enable --now fireside.socket" in shown
    assert files(config) == []
    assert main(["service", "status"]) == 0
    assert capfd.readouterr().out == "No service is installed.\n"
    assert main(["service", "install", "--port", "11999"]) == 0
    said = capfd.readouterr()
    assert "Nothing is switched on yet" in said.err
    sock, service = files(config)[::-1]
    assert "11999" in sock.read_text(encoding="utf-8")
    assert str(address.runtime_dir().parent) in service.read_text(encoding="utf-8"), "the home of this shell"
    assert main(["service", "status", "--port", "11999"]) == 0
    assert "not what" not in capfd.readouterr().out
    assert main(["service", "status"]) == 0
    assert "not what `fireside service install` would write now" in capfd.readouterr().out
    assert main(["service", "install", "--enable"]) == 1
    assert "no systemctl" in capfd.readouterr().err
    assert main(["service", "uninstall", "--dry-run"]) == 0
    assert len(files(config)) == 2
    assert main(["service", "uninstall"]) == 0
    assert files(config) == []
    assert main(["service", "uninstall"]) == 0
    assert "No service is installed" in capfd.readouterr().out


def test_wrong_words(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["service"]) == 2
    assert main(["service", "begin"]) == 2
    assert main(["service", "install", "--port", "0"]) == 2
    assert "is no port" in capfd.readouterr().err


# --- the sockets


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def handed(number: int) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "fireside.socket", "HOME": str(number)}


def test_sockets_are_taken_from_systemd_once(listening: socket.socket) -> None:
    number = os.dup(listening.fileno())
    environment = handed(number)
    (made,) = inherited(environment, number)
    with made:
        assert made.getsockname() == listening.getsockname()
        assert not made.get_inheritable()
    assert list(environment) == ["HOME"], "workers do not take them for theirs"
    assert inherited(environment) == []
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == [], "meant for another process"


def test_sockets_that_others_reach_are_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as made:
        number = os.dup(made.fileno())
        with pytest.raises(OSError, match="not on this machine alone"):
            inherited(handed(number), number)
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        number = os.dup(made.fileno())
        with pytest.raises(OSError, match="does not listen"):
            inherited(handed(number), number)


def test_the_first_request_starts_an_engine_on_the_socket(home: Path, tmp_path: Path) -> None:
    """systemd-socket-activate stands in for the user's systemd."""
    activate = shutil.which("systemd-socket-activate", path="/usr/bin:/bin")
    if activate is None:
        pytest.skip("no systemd-socket-activate")
    with socket.create_server(("127.0.0.1", 0)) as made:
        port = made.getsockname()[1]
    command = [
        activate,
        "-l",
        f"127.0.0.1:{port}",
        "-E",
        "PYTHONPATH",
        "-E",
        "FIRESIDE_HOME",
        *address.engine_command(),
    ]
    command += ["--port", str(port), "--idle-exit", "1"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/fireside/hello", timeout=30) as reply:
                    hello = json.load(reply)
                break
            except urllib.error.URLError as error:
                assert isinstance(error.reason, ConnectionRefusedError)
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert hello["pid"] == process.pid, "the engine took the place of what listened for it"
        record = address.read_record()
        assert record is not None
        assert record.port == port
        assert process.wait(30) == 0, "and it leaves when idle"
    finally:
        process.kill()
        process.wait(10)
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")
