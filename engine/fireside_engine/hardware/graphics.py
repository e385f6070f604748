"""What drivers say of graphics memory, to check what llama.cpp says: NVML for NVIDIA, sysfs for AMD.

llama.cpp asks the driver from inside a process and is right about most; but some drivers tell it of their own process
only. Where both speak, the smaller number is believed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """Memory of one graphics card."""

    id: str
    """PCI address as in "0000:c1:00.0"."""
    total: int
    free: int
    source: str


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Pci(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pci_device_id", ctypes.c_uint),
        ("pci_subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


def cards(*, load: Callable[[str], Any] = ctypes.CDLL, sysfs: Path = Path("/sys/class/drm")) -> list[Card]:
    """Every card whose driver tells of its memory; empty where none does."""
    return [*_nvidia(load), *_amd(sysfs)]


def _nvidia(load: Callable[[str], Any]) -> list[Card]:
    try:
        nvml = load("libnvidia-ml.so.1")
    except OSError:
        return []
    if nvml.nvmlInit_v2() != 0:
        return []
    found = []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        for index in range(count.value):
            handle, memory, pci = ctypes.c_void_p(), _Memory(), _Pci()
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
                continue
            # Boards whose memory is the host's own answer "not supported" here.
            if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
                continue
            if nvml.nvmlDeviceGetPciInfo_v3(handle, ctypes.byref(pci)) != 0:
                continue
            found.append(Card(_address(pci), memory.total, memory.free, "NVML"))
    finally:
        nvml.nvmlShutdown()
    return found


def _address(pci: _Pci) -> str:
    return f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"


def _amd(sysfs: Path) -> list[Card]:
    found = []
    for card in sorted(sysfs.glob("card*")):
        device = card / "device"
        try:
            total = int((device / "mem_info_vram_total").read_text(encoding="ascii"))
            used = int((device / "mem_info_vram_used").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        found.append(Card(device.resolve().name.lower(), total, max(0, total - used), "sysfs"))
    return found
