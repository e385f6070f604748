"""Runs the real command line in processes of its own, with its streams tied to pipes, files and terminals."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fireside_engine import address
from scripted_engine import Script, ScriptedEngine

LIMIT = 30.0
"""Seconds after which a process of a test is stuck, not slow."""


class Done(NamedTuple):
    code: int
    out: bytes
    err: bytes


@contextmanager
def serving(script: Script | None = None) -> Iterator[ScriptedEngine]:
    """A fake engine that clients of this test's home find."""
    address.ensure_token()
    with closing(ScriptedEngine(script)) as engine:
        engine.write_record()
        yield engine


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fireside", *words]


def fireside(*words: str, stdin: bytes | None = None, **options: Any) -> Done:
    """Run to the end with pipes; without `stdin` the null device."""
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(command(*words), capture_output=True, timeout=LIMIT, check=False, **source, **options)
    return Done(done.returncode, done.stdout, done.stderr)


def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process that is still running; pipes for all three streams unless told otherwise."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(*words), **{**streams, **options})


def to_end(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=LIMIT)
    return Done(process.returncode, out or b"", err or b"")


class Terminal:
    """A pseudo-terminal that passes bytes on unchanged; `screen` is all that was written to it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        attributes = termios.tcgetattr(self.slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)
        self.screen = b""

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)

    def drain(self) -> bytes:
        while select.select([self.master], [], [], 0)[0]:
            self.screen += os.read(self.master, 65536)
        return self.screen

    def wait_for(self, text: bytes) -> None:
        until(lambda: text in self.drain())

    def run(self, process: subprocess.Popen[bytes]) -> int:
        """Read until the process has ended."""
        until(lambda: (self.drain() is not None) and process.poll() is not None)
        self.drain()
        return process.returncode


def until(condition: Callable[[], object]) -> None:
    """Wait for what must come; its absence fails the test."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def started_by_clients(directory: Path) -> dict[str, str]:
    """Variables under which clients start the scripted engine instead of the real one."""
    directory.mkdir()
    program = Path(__file__).with_name("scripted_engine.py")
    (directory / "sitecustomize.py").write_text(
        "import sys\n"
        "from fireside_engine import address\n"
        f"address.engine_command = lambda **options: [sys.executable, {str(program)!r}, *map(str, options.values())]\n"
    )
    path = os.pathsep.join([str(directory), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path}
