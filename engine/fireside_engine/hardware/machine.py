"""The whole machine as the fit sees it: pools of memory, cores, instruction sets. One place that tests may replace.

Graphics devices are those that llama.cpp lists; a process of its own asks it (server/dry_runs.py), and what it said
comes in here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import Machine, Pool, keep_of_gpu, keep_of_host
from fireside_engine.hardware import cpu, graphics, memory
from fireside_engine.hardware.graphics import Card

FLAGS = (
    "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip
"""Instruction sets that decide how fast llama.cpp is."""


def look(devices: Iterable[Mapping[str, object]] = (), build: str = "") -> Machine:
    """The machine as it is now. devices: as llama.cpp lists them (llama/devices.py), build: what it was built for."""
    mac = platform.system() == "Darwin"
    found = memory.host()
    keep = keep_of_host(found.total, contained=found.contained, mac=mac)
    host = Pool(HOST, "host", found.total, found.available, keep, "main memory", found.source)
    known = list(devices)
    cards = graphics.cards() if known else []
    gpus = tuple(pool for device in known if (pool := gpu_pool(device, cards, mac=mac)) is not None)
    return Machine(host, _once(gpus, known), cpu.threads_for_decoding(cpu.usable_cores()), flags(), build)


def gpu_pool(device: Mapping[str, object], cards: Iterable[Card], *, mac: bool) -> Pool | None:
    """One graphics device; None where nobody knows its memory, for then it cannot be planned with."""
    name, total, free = str(device["name"]), _number(device["total"]), _number(device["free"])
    if total <= 0 or name.upper().startswith("RPC"):
        return None
    unified = device["kind"] == "igpu" or mac
    source = "llama.cpp"
    card = next((card for card in cards if card.id and card.id == device.get("id")), None)
    if card is not None and not unified:
        free, source = min(free, card.free), f"llama.cpp and {card.source}"
    keep = 0 if unified else keep_of_gpu(total)
    title = str(device.get("description") or name)
    return Pool(name, "unified" if unified else "gpu", total, free, keep, title, source)


def flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Those of FLAGS that the processor has; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    words = {
        word
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for word in line.split(":", 1)[1].split()
    }
    return tuple(flag for flag in FLAGS if flag in words)


def _once(pools: tuple[Pool, ...], devices: list[Mapping[str, object]]) -> tuple[Pool, ...]:
    """A card that two backends list, such as CUDA and Vulkan, is one card: the first listed is kept."""
    ids = {str(device["name"]): str(device.get("id") or "") for device in devices}
    seen: set[str] = set()
    kept = []
    for pool in pools:
        own = ids.get(pool.name, "")
        if own and own in seen:
            continue
        seen.add(own)
        kept.append(pool)
    return tuple(kept)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
