"""The memory of a machine as pools, and what of it a model may have. Values and arithmetic only.

A pool is memory that is full or free as a whole. A graphics card has one of its own; a graphics unit inside the
processor shares that of the host, so its bytes are counted there once, and its own limit is checked besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fireside_engine.core.footprint import HOST, Footprint

MIB = 1024 * 1024
GIB = 1024 * MIB

PoolKind = Literal["host", "gpu", "unified"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Memory of one kind on this machine."""

    name: str
    """HOST, or the name of the device at llama.cpp, e.g. "CUDA0"."""
    kind: PoolKind
    total: int
    free: int
    """Bytes that can be had now: what others use is taken off, what can be reclaimed is not."""
    keep: int
    """Bytes of the free ones that are left to others."""
    title: str = ""
    """e.g. "NVIDIA GeForce RTX 4070"."""
    source: str = ""
    """Who said so, e.g. "NVML", "control group"."""
    bandwidth: float = 0.0
    """Bytes that decoding reads in a second; 0 where it is not known."""

    @property
    def budget(self) -> int:
        return max(0, self.free - self.keep)


@dataclass(frozen=True, slots=True)
class Machine:
    """All pools, and what computes."""

    host: Pool
    gpus: tuple[Pool, ...] = ()
    n_threads: int = 1
    flags: tuple[str, ...] = ()
    """Instruction sets that decide speed, of the processor."""
    build: str = ""
    """What the installed llama.cpp makes of it."""

    @property
    def pools(self) -> tuple[Pool, ...]:
        return (self.host, *self.gpus)

    def pool(self, name: str) -> Pool:
        return next((pool for pool in self.pools if pool.name == name), self.host)

    def with_free(self, more: Mapping[str, int]) -> Machine:
        """The same with so many more bytes free, by pool: what is about to be given back, or is promised already."""

        def changed(pool: Pool) -> Pool:
            return replace(pool, free=max(0, min(pool.total, pool.free + more.get(pool.name, 0))))

        return replace(self, host=changed(self.host), gpus=tuple(changed(pool) for pool in self.gpus))


@dataclass(frozen=True, slots=True)
class Shortage:
    """A pool that cannot hold what was asked of it."""

    pool: str
    need: int
    budget: int

    @property
    def missing(self) -> int:
        return self.need - self.budget


def shortages(machine: Machine, footprint: Footprint) -> tuple[Shortage, ...]:
    """Which pools are too small. Bytes of unified devices count in main memory too."""
    found = []
    host = footprint.need(HOST)
    for pool in machine.gpus:
        need = footprint.need(pool.name)
        if pool.kind == "unified":
            host += need
        if need > pool.budget:
            found.append(Shortage(pool.name, need, pool.budget))
    if host > machine.host.budget:
        found.append(Shortage(HOST, host, machine.host.budget))
    return tuple(found)


_BUILT_AS = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2", "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16", "avx_vnni": "AVX_VNNI", "amx_int8": "AMX_INT8",
    "asimddp": "DOTPROD", "i8mm": "MATMUL_INT8", "sve": "SVE",
}  # fmt: skip
"""What llama.cpp calls the instruction sets in `llama_print_system_info`."""


def unused_flags(flags: tuple[str, ...], build: str) -> tuple[str, ...]:
    """Instruction sets that the processor has and llama.cpp was not built for; empty where the build is not known."""
    words = set(build.replace("(", " ").replace(")", " ").split())
    return tuple(flag for flag in flags if build and flag in _BUILT_AS and _BUILT_AS[flag] not in words)


def keep_of_host(total: int, *, contained: bool, mac: bool = False) -> int:
    """What main memory keeps for everybody else, so that loading a model never makes the machine swap.

    A container has fewer others in it. No machine needs more than 4 GiB kept.
    """
    if contained:
        return max(256 * MIB, total // 20)
    if mac:
        return min(4 * GIB, max(2 * GIB, total // 10))
    return min(4 * GIB, max(GIB, total * 8 // 100), total // 4)


def keep_of_gpu(total: int, *, context: int = 300 * MIB) -> int:
    """context: bytes that a process takes of the device before it has any buffer; CUDA's is 250 to 500 MiB."""
    return max(512 * MIB, total * 3 // 100) + context
