"""Every command that prints: the same bytes and exit codes, whatever its streams are tied to, and nothing but text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_driver import Terminal, fireside, serving, start, started_by_clients, to_end
from fireside.account import Account
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from scripted_engine import VARIABLE, Script

COMMANDS: list[tuple[list[str], int]] = [
    (["--help"], 0),
    (["--version"], 0),
    (["run", "--help"], 0),
    (["run", "hi"], 0),
    (["run", "--json", "--no-save", "hi"], 0),
    (["run", "--ndjson", "--no-save", "hi"], 0),
    (["run", "--dry-run", "hi"], 0),
    (["ls"], 0),
    (["ls", "--json"], 0),
    (["show", "golden"], 0),
    (["show", "golden", "--json"], 0),
    (["show", "golden", "-x"], 1),
    (["show", "nothing"], 2),
    (["search", "nowhere"], 0),
    (["search", "--json", "golden"], 0),
    (["export", "golden"], 0),
    (["export", "--all", "--format", "json"], 0),
    (["rm", "nothing"], 2),
    (["models"], 0),
    (["ps", "--json"], 0),
    (["stop", "nothing"], 4),
    (["warm", "tiny"], 0),
    (["config"], 0),
    (["config", "get", "theme"], 1),
    (["completions", "fish"], 0),
    (["nonsense"], 2),
]


@pytest.fixture
def golden() -> None:
    """One chat, with what a terminal must not see."""
    chat = Conversation(id="golden")
    chat.ask("A golden question \x1b]52;c;ZXZpbA==\x07 \x1b[31m")
    chat.answer("An answer \x9b2J \x1b[2J.", model="tiny\x1b[0m", account=Account(model="tiny", generated=3))
    store = Store()
    store.save(chat, chat.turns.values())
    store.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@pytest.mark.parametrize(("words", "code"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_streams(words: list[str], code: int, golden: None, terminal: Terminal, tmp_path: Path) -> None:
    saves = words == ["run", "hi"]
    with serving(Script(text=["an ", "answer"])):
        piped = fireside(*words)
        assert piped.code == code, piped
        assert b"Traceback" not in piped.err
        for bytes_ in (piped.out, piped.err):
            assert b"\x1b" not in bytes_
            assert "\x9b" not in bytes_.decode()
        assert bool(piped.out) == (code == 0 and words[:2] != ["search", "nowhere"])
        if code:
            assert piped.err
        with (tmp_path / "out").open("w+b") as file:
            assert to_end(start(*words, stdout=file)).code == code
            assert saves or steady((tmp_path / "out").read_bytes()) == steady(piped.out)
        environment = {**os.environ, "TERM": "xterm"}
        screen = start(*words, stdout=terminal.slave, stdin=terminal.slave, env=environment)
        assert terminal.run(screen) == code
        screen.communicate(timeout=30)
        assert saves or steady(terminal.drain()) == steady(piped.out)
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$0" -m fireside "$@" >&- 2>/dev/null </dev/null', sys.executable, *words],
            timeout=30,
            check=False,
        )
        assert shell.returncode == (141 if code == 0 and piped.out else code)


def steady(out: bytes) -> bytes:
    """Without numbers that differ from run to run."""
    text = out.decode()
    for word in ("now", *(f"{n} s ago" for n in range(5, 40))):
        text = text.replace(word, "TIME")
    return "\n".join(line.rstrip() for line in text.splitlines() if '"conversation_id"' not in line).encode()


def test_an_endless_pipe_ends() -> None:
    with serving(Script(text=["x"])):
        done = subprocess.run(
            ["/bin/bash", "-c", 'set -o pipefail; yes | "$0" -m fireside run x | head -1', sys.executable],
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 5
    assert done.stdout == b""
    assert b"larger than 32 MiB" in done.stderr
    assert done.stderr.count(b"\n") <= 2


def test_a_reader_that_leaves_ends_every_long_output(golden: None) -> None:
    for words in (["completions", "bash"], ["--help"], ["export", "--all"]):
        shell = subprocess.run(
            ["/bin/bash", "-c", 'set -o pipefail; "$0" -m fireside "$@" | true', sys.executable, *words],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert shell.returncode in (0, 141)
        assert shell.stderr == b""


@pytest.mark.skipif(not shutil.which("unshare") or not shutil.which("ip"), reason="needs unshare and ip")
def test_without_any_network_everything_local_works(tmp_path: Path) -> None:
    environment = {**started_by_clients(tmp_path / "site"), VARIABLE: '{"text": ["offline ", "answer"]}'}
    script = (
        'ip link set lo up && "$0" -m fireside run hi && "$0" -m fireside run -c more && "$0" -m fireside ls'
        ' && "$0" -m fireside search answer && "$0" -m fireside models && "$0" -m fireside stop'
    )
    probe = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no network namespace may be made here")
    done = subprocess.run(
        ["unshare", "-rn", "/bin/sh", "-c", script, sys.executable],
        capture_output=True,
        timeout=60,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"offline answer\noffline answer\n")
    assert b"The engine has stopped." in done.stdout
