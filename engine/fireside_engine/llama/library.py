"""The door to llama.cpp: the library, its log, its start. Only modules of this package import `llama_cpp`.

llama.cpp logs to standard error and keeps no error values, so the log is captured: the last lines are the reason that a
failed load is told with.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import threading
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api

__all__ = ["api", "build", "capture", "fingerprint", "start"]

_LOG_LINES = 5000
_FAULTS = ("error", "fail", "invalid", "unsupport", "unknown")
_log: deque[str] = deque(maxlen=_LOG_LINES)
_started = threading.Lock()
_is_started = False
_logger = logging.getLogger(__name__)

_ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR (ggml.h)."""


def _on_log(level: int, text: bytes, _user_data: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if line:
        _log.append(line)
        _logger.log(logging.WARNING if level == _ERROR_LEVEL else logging.DEBUG, "%s", line)


# ctypes holds no reference to a callback that C keeps, so the module does.
_callback = api.llama_log_callback(_on_log)


def start() -> None:
    """Start llama.cpp in this process, once."""
    global _is_started
    with _started:
        if not _is_started:
            api.llama_log_set(_callback, ctypes.c_void_p(0))
            api.llama_backend_init()
            _is_started = True


class capture:  # noqa: N801  (used as a context manager, like a function)
    """The lines that llama.cpp logs inside a `with` block of this thread's work."""

    def __enter__(self) -> capture:
        _log.clear()
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def lines(self) -> list[str]:
        return list(_log)

    def reason(self) -> str:
        """The line that says most about a failure: the first that speaks of an error, or simply the last."""
        spoken = [line for line in _log if any(word in line.lower() for word in _FAULTS)]
        line = (spoken or list(_log)[-1:] or ["llama.cpp gave no reason"])[0]
        return line.split(": ", 1)[-1] if line.startswith(("llama_", "gguf_", "ggml_")) else line


def fingerprint() -> str:
    """Changes when the libraries' files do: two builds of one version may round differently."""
    folder = Path(api.__file__).parent / "lib"
    files = [path for path in sorted(folder.glob("*")) if "llama" in path.name or "ggml" in path.name]
    facts = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def supports_offload() -> bool:
    """Whether this build can compute on anything but the CPU."""
    return bool(api.llama_supports_gpu_offload())


def build() -> str:
    """llama-cpp-python's version and the instruction sets its llama.cpp was built for."""
    import importlib.metadata

    info = (api.llama_print_system_info() or b"").decode("utf-8", "replace")
    enabled = [part.split("=")[0].strip() for part in info.replace("CPU :", "").split("|") if "= 1" in part]
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')} ({' '.join(enabled)})"
