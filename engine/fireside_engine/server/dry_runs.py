"""Dry runs in a process of their own, and what they said, kept on disk: a shape is measured once for each build.

The process never sees a file of a stranger, only a skeleton of it that we wrote (models/skeleton.py). It still may die;
that costs one answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fireside_engine import address, errors
from fireside_engine.core.footprint import DeviceBytes, Setup
from fireside_engine.models.gguf import Header
from fireside_engine.models.skeleton import write_skeleton
from fireside_engine.server.environment import worker_environment

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "fireside_engine.worker.dry_run_child")
DEADLINE = 60.0
"""Seconds for one answer; a cold disk and a first GPU need some of them."""
_VERSION = 1

Buffers = tuple[DeviceBytes, ...]


class DryRuns:
    """The process, started when it is first needed. Not thread-safe; use it with `with`."""

    def __init__(self, command: Sequence[str] = COMMAND, deadline: float = DEADLINE) -> None:
        self._command = command
        self._deadline = deadline
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self._hello: dict[str, Any] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def devices(self) -> list[dict[str, Any]]:
        """As llama/devices.py has them. Raises InternalError when llama.cpp cannot be loaded at all."""
        return list(self._greet()["devices"])

    @property
    def offload(self) -> bool:
        """Whether this build of llama.cpp can use graphics at all."""
        return bool(self._greet()["offload"])

    @property
    def build(self) -> str:
        return str(self._greet()["build"])

    def measure(self, header: Header, setups: Sequence[Setup], shown: str) -> list[Buffers]:
        """Raises ModelUnsupported when llama.cpp refuses the header or dies of it. shown: the name of the file."""
        self._greet()
        with tempfile.TemporaryDirectory(dir=address.make_private(address.cache_dir())) as folder:
            # The name appears in llama.cpp's own words.
            path = Path(folder) / "model.gguf"
            write_skeleton(header, path)
            question = {"path": str(path), "setups": [asdict(setup) for setup in setups]}
            try:
                answer = self._ask(question)
            except errors.InternalError as error:
                raise errors.ModelUnsupported(
                    f"llama.cpp died of the header of {shown}.",
                    hint="The file is damaged, or made for another version; look for another one.",
                ) from error
        if "error" in answer:
            told = errors.FiresideError.from_dict(answer["error"])
            raise type(told)(told.message.replace("model.gguf", shown), hint=told.hint)
        return [tuple(DeviceBytes(**part) for part in parts) for parts in answer["results"]]

    def _greet(self) -> dict[str, Any]:
        if self._hello is None or self._process is None:
            self._start()
            try:
                self._hello = json.loads(self._next())
            except errors.InternalError as error:
                message = "llama.cpp cannot be loaded, so nothing can be planned."
                raise errors.InternalError(message, hint="`fireside doctor` says why.") from error
        return self._hello

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None  # noqa: S101 - `_greet` started it
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        found: dict[str, Any] = json.loads(self._next())
        return found

    def _next(self) -> str:
        try:
            line = self._lines.get(timeout=self._deadline)
        except queue.Empty:
            line = ""
        if not line:
            self._end()
            raise errors.InternalError("A dry run ended without an answer.")
        return line

    def _start(self) -> None:
        self._end()
        # Closed by `_end`; a `with` here would end it too early.
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=worker_environment(os.environ, address.cache_dir()),
            start_new_session=True,
        )
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            with process.stdout:
                for line in process.stdout:
                    lines.put(line)
            lines.put("")

        self._reader = threading.Thread(target=read, name="dry run", daemon=True)
        self._reader.start()
        self._process, self._lines = process, lines

    def _end(self) -> None:
        process, self._process, self._hello = self._process, None, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


class BuildFile:
    """What llama.cpp said of itself, kept for as long as it is not installed anew.

    Only of a build without graphics: whatever it is asked, there is nothing else to hear, so no process is started to
    ask again.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "build.json"

    def load(self) -> str | None:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return str(data["build"]) if data["installed"] == _installed() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, runs: DryRuns) -> None:
        if runs.offload:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            address.write_private(self._path, json.dumps({"installed": _installed(), "build": runs.build}))
        except OSError as error:
            log.warning("the build of llama.cpp could not be kept: %s", error)


def _installed() -> str:
    """Changes whenever llama-cpp-python is installed, whatever its version."""
    try:
        found = importlib.metadata.distribution("llama-cpp-python")
        changed = Path(str(found.locate_file("llama_cpp/lib"))).stat().st_mtime_ns
    except (importlib.metadata.PackageNotFoundError, OSError):
        return ""
    return f"{sys.executable} {found.version} {changed}"


def shape_key(header: Header, build: str) -> str:
    """What decides KV and activations: settings and shapes of tensors, but not their types, and llama.cpp's build."""
    digest = hashlib.sha256(f"{_VERSION} {build}".encode())
    for name, raw in sorted(header.raw_settings.items()):
        if not name.startswith(("general.", "split.", "quantize.")) or name == "general.architecture":
            digest.update(name.encode() + b"\0" + raw)
    for tensor in header.tensors:
        digest.update(f"{tensor.name} {tensor.shape}".encode())
    return digest.hexdigest()[:32]


class Kept:
    """Answers on disk, a file for each shape. What cannot be read or written is measured again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, key: str) -> dict[str, Buffers]:
        try:
            data = json.loads((self._directory / f"{key}.json").read_text(encoding="utf-8"))
            return {name: tuple(DeviceBytes(**part) for part in parts) for name, parts in data.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def save(self, key: str, known: dict[str, Buffers]) -> None:
        data = {name: [asdict(part) for part in parts] for name, parts in known.items()}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            address.write_private(self._directory / f"{key}.json", json.dumps(data))
        except OSError as error:
            log.warning("a dry run could not be kept: %s", error)


def setup_key(setup: Setup) -> str:
    return json.dumps(asdict(setup), sort_keys=True)
