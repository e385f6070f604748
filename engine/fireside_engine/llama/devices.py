"""The devices that llama.cpp computes on, as ggml tells of them.

Asking a GPU for its memory makes a context on it, so this is done in processes that end soon.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from fireside_engine.llama.library import api

KINDS = ("cpu", "gpu", "igpu", "accel", "meta")
"""ggml_backend_dev_type of ggml-backend.h, in its order."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of ggml's registry."""

    name: str
    """e.g. "CUDA0"."""
    description: str
    kind: str
    """Of KINDS."""
    free: int
    """What the driver says. Of a CPU it is all memory of the machine, used or not."""
    total: int
    id: str
    """The PCI address in small letters, or ""."""


class _Props(ctypes.Structure):
    """The beginning of ggml_backend_dev_props; room behind it for what newer versions add."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("rest", ctypes.c_char * 256),
    )


def devices() -> list[Device]:
    """All but the CPU itself and what only helps it."""
    lib: Any = api._lib
    lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    lib.ggml_backend_dev_get.restype, lib.ggml_backend_dev_get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    ask = lib.ggml_backend_dev_get_props
    ask.restype, ask.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
    found = []
    for index in range(lib.ggml_backend_dev_count()):
        props = _Props()
        ask(lib.ggml_backend_dev_get(index), ctypes.addressof(props))
        kind = KINDS[props.type] if 0 <= props.type < len(KINDS) else "accel"
        if kind in ("gpu", "igpu"):
            found.append(
                Device(
                    _text(props.name),
                    _text(props.description),
                    kind,
                    props.free,
                    props.total,
                    _text(props.device_id).lower(),
                )
            )
    return found


def cpu_buffer_type() -> int:
    """ggml_backend_buffer_type_t of main memory, for tensors that are to stay there."""
    function = api._lib.ggml_backend_cpu_buffer_type
    function.restype, function.argtypes = ctypes.c_void_p, []
    return int(function())


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
