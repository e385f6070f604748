"""What a context occupies, by device and kind, as llama.cpp itself counts it.

The exact way is llama.cpp's own table, which only C++ can ask for: a std::map returned by value, read here through the
memory layout of libstdc++. That layout and the calling convention are those of Linux on x86-64; everywhere else the
lines that llama.cpp logs while it makes a context tell the same, to a hundredth of a MiB and less finely by device.
"""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Iterable
from typing import Any

from fireside_engine.core.footprint import HOST, DeviceBytes, merge
from fireside_engine.llama.context import Context
from fireside_engine.llama.library import api

_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"
_MIB = 1024 * 1024
_CPU, _GPU, _IGPU, _ACCEL = range(4)
"""ggml_backend_dev_type of ggml-backend.h."""
_KV = re.compile(r"\bsize\s*=\s*([\d.]+) MiB \(.*(?:cells|seqs)")
_COMPUTE = re.compile(r"(\S+)\s+compute buffer size\s*=\s*([\d.]+) MiB")


class _Map(ctypes.Structure):
    """std::map<buffer type, sizes> of libstdc++."""

    _fields_ = (
        ("compare", ctypes.c_uint64),
        ("color", ctypes.c_uint64),
        ("root", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
    )


def has_table() -> bool:
    """Whether llama.cpp's own table can be read here."""
    x86 = platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64")
    return x86 and hasattr(api._lib, _SYMBOL) and "libstdc++" in _mapped_libraries()


def allocated(context: Context) -> tuple[DeviceBytes, ...]:
    """What a loaded context and its model occupy."""
    model, rows = context.model, context.options.n_outputs
    return of_context(context.handle, rows, model.n_vocab, context.log, model.size)


def of_context(handle: Any, n_outputs: int, n_vocab: int, log: Iterable[str], weights: int) -> tuple[DeviceBytes, ...]:
    """log: what llama.cpp logged while it made the context; weights: bytes of all, for where the table is missing.

    Rows of logits are added to main memory: they are allocated when the first batch asks for as many.
    """
    parts = _table(handle) if has_table() else from_log(log, weights)
    return merge([*parts, DeviceBytes(HOST, outputs=n_outputs * n_vocab * 4)])


def _table(handle: Any) -> list[DeviceBytes]:
    function = getattr(api._lib, _SYMBOL)
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]
    table = _Map()
    function(ctypes.addressof(table), ctypes.cast(handle, ctypes.c_void_p))
    parts: list[DeviceBytes] = []
    # A node is: color, parent, left, right, then the pair of key and value: buffer type, weights, KV, compute.
    # The nodes are never freed; a table has one for each buffer type, and is read once for each context.
    waiting = [table.root]
    while waiting:
        if node := waiting.pop():
            _, _, left, right, buffer_type, weights, kv, compute = (ctypes.c_uint64 * 8).from_address(node)
            waiting += [left, right]
            parts.append(DeviceBytes(device_of(buffer_type), weights, kv, compute))
    return sorted(parts, key=lambda part: part.device != HOST)


def device_of(buffer_type: int) -> str:
    """The device that a buffer type takes memory from. Repacked, mapped and pinned buffers are main memory too."""
    lib = _symbols()
    device = lib.ggml_backend_buft_get_device(buffer_type)
    if lib.ggml_backend_buft_is_host(buffer_type) or not device:
        return HOST
    if lib.ggml_backend_dev_type(device) in (_CPU, _ACCEL):
        return HOST
    return str(lib.ggml_backend_dev_name(device).decode("utf-8", "replace"))


def from_log(log: Iterable[str], weights: int) -> list[DeviceBytes]:
    """The same from log lines. KV is told in one sum; with GPUs it is counted on the first, where most of it lies."""
    kv, compute = 0.0, dict[str, float]()
    for line in log:
        if found := _KV.search(line):
            kv += float(found[1])
        elif found := _COMPUTE.search(line):
            name = HOST if found[1].startswith(("CPU", "CUDA_Host", "Vulkan_Host", "ROCm_Host")) else found[1]
            compute[name] = compute.get(name, 0.0) + float(found[2])
    home = next((name for name in compute if name != HOST), HOST)
    parts = [DeviceBytes(name, compute=round(size * _MIB)) for name, size in compute.items()]
    return [*parts, DeviceBytes(home, weights=weights, kv=round(kv * _MIB))]


def _mapped_libraries() -> str:
    try:
        with open("/proc/self/maps", encoding="utf-8") as file:  # noqa: PTH123 - a path of the kernel
            return file.read()
    except OSError:
        return ""


def _symbols() -> Any:
    lib = api._lib
    for name, result in (
        ("ggml_backend_buft_get_device", ctypes.c_void_p),
        ("ggml_backend_buft_is_host", ctypes.c_bool),
        ("ggml_backend_dev_name", ctypes.c_char_p),
        ("ggml_backend_dev_type", ctypes.c_int),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, [ctypes.c_void_p]
    return lib
