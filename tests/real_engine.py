"""The real engine in processes of its own, started by its client, with a home that belongs to the caller.

Whatever runs for a home is found by its environment, so that what an engine leaves behind cannot hide.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from fireside import engine_process
from fireside.client import EngineClient
from fireside_engine import address

LIMIT = 120.0
"""Seconds after which a process is stuck, not slow: a model may be probed and a sampler compiled meanwhile."""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class RealEngine:
    """One home, and whatever engine runs for it. While it is used, FIRESIDE_HOME of this process must name the home."""

    def __init__(self, home: Path, **models: Path) -> None:
        self.home = home
        folder = home / "models"
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in models.items():
            (folder / f"{name}.gguf").symlink_to(path)

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """`fireside …`, still running; pipes unless told otherwise."""
        streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [sys.executable, "-m", "fireside", *words],
            env={**os.environ, address.HOME_VARIABLE: str(self.home)},
            text=True,
            **{"stdin": subprocess.DEVNULL, **streams, **options},
        )

    def cli(self, *words: str, stdin: str | None = None) -> Done:
        """`fireside …`, to its end."""
        process = self.popen(*words, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        return ended(process, stdin)

    def client(self) -> EngineClient:
        """To the engine that runs."""
        endpoint = engine_process.find()
        assert endpoint is not None, "no engine runs"
        return EngineClient(endpoint)

    def status(self) -> Any:
        return self.client().get("/fireside/status", timeout=LIMIT)

    def load(self, model: str, *, deterministic: bool) -> None:
        self.client().post("/fireside/load", {"model": model, "deterministic": deterministic}, timeout=LIMIT)

    def worker(self, model: str, *, deterministic: bool) -> Any:
        """What the status says of one loaded model."""
        (found,) = [
            entry
            for entry in self.status()["models"]
            if entry["name"] == model and entry["info"] and entry["info"]["deterministic"] == deterministic
        ]
        return found

    def processes(self) -> list[psutil.Process]:
        """All that run for this home, whoever started them, but not this program and the shell it was started from."""
        here = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
        return [process for process in psutil.process_iter() if process.pid not in here and self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return bool(
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(address.HOME_VARIABLE) == str(self.home)
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def stop(self) -> None:
        """End the engine; raises AssertionError when something of it stays."""
        try:
            stopped = self.cli("stop")
            assert stopped.code == 0, stopped
            until(lambda: not self.processes(), 10)
        finally:
            for process in self.processes():
                process.kill()


def ended(process: subprocess.Popen[str], stdin: str | None = None) -> Done:
    """Wait for its end and take what it wrote."""
    try:
        out, err = process.communicate(stdin, timeout=LIMIT)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Done(process.returncode, out or "", err or "")


def until(question: Callable[[], Any], seconds: float = LIMIT) -> Any:
    """What `question` answers once it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
    return answer
