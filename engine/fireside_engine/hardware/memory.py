"""Memory and processes of this machine. The only door to psutil.

"Available" means: what a new allocation can get now without swapping, under every control group this process is in.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024
LIBRARIES = 400 * MIB
"""Address space of a worker that is no memory of its own: libraries, its allocator's reserve (docs/log.md)."""
THREAD = 9 * MIB
"""Of one thread: its stack."""
THREADS = 20
"""Of a worker besides those that compute: they read, write and prepare, beside decoding."""
GRAMMAR = 64 * MIB
"""Of the thread that compiles a grammar, which may be deeply nested."""
DATA = 120 * MIB
"""Writable memory that a worker takes beyond what it uses: the same stacks, as far as they count."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of host memory."""

    total: int
    available: int
    source: str = "system"
    """What set the tightest bound: "system", "control group" or "rlimit"."""

    @property
    def contained(self) -> bool:
        """The bound is one of our own, so that other programs have memory besides."""
        return self.source != "system"


def host(proc: Path = Path("/proc/self"), groups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """The machine's memory, cut to the tightest control group (v1 or v2, ancestors included) and to rlimits."""
    memory = psutil.virtual_memory()
    return cut(int(memory.total), int(memory.available), control_groups(proc, groups), _limits())


def cut(total: int, free: int, groups: list[tuple[int, int]], limits: list[int]) -> Memory:
    """groups: (limit, used) of control groups; limits: what limits of a process leave it."""
    source = "system"
    for limit, used in groups:
        if limit < total or limit - used < free:
            source = "control group"
        total, free = min(total, limit), min(free, max(0, limit - used))
    for usable in limits:
        if usable < free:
            source = "rlimit"
        total, free = min(total, usable), min(free, usable)
    return Memory(total, free, source)


def available() -> int:
    return host().available


def total() -> int:
    return host().total


def _limits() -> list[int]:
    """What the limits that workers inherit leave to the model and the memory of one of them."""
    return [max(0, limit - extra) for limit, extra in zip(_rlimits(), (virtual(), DATA), strict=True) if limit]


def virtual() -> int:
    """Address space that a worker takes beyond the memory that it uses."""
    return LIBRARIES + GRAMMAR + THREAD * (THREADS + (os.cpu_count() or 1))


def _rlimits() -> tuple[int, int]:
    """Of address space and of writable memory; 0 is none."""
    try:
        import resource
    except ImportError:  # Windows has none
        return 0, 0
    address, data = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    unlimited = resource.RLIM_INFINITY
    return (0 if address == unlimited else address), (0 if data == unlimited else data)


def spare() -> int:
    """What this very process can still allocate: what is available, and what its own limits leave it."""
    memory, taken = psutil.virtual_memory(), psutil.Process().memory_info()
    groups = control_groups(Path("/proc/self"), Path("/sys/fs/cgroup"))
    used = (taken.vms, getattr(taken, "data", taken.rss))
    limits = [max(0, limit - own) for limit, own in zip(_rlimits(), used, strict=True) if limit]
    return cut(int(memory.total), int(memory.available), groups, limits).available


def ran_out(error: BaseException) -> bool:
    """Whether it was memory, or addresses for a thread's stack, that could not be had."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def rss(pid: int) -> int:
    """Bytes resident in a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def port_owner(port: int) -> str | None:
    """`name (pid N)` of the program that listens on a TCP port, where the system tells."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    return None
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        # Some systems show foreign sockets to administrators only: then the owner stays unknown.
        return None
    return None


def control_groups(proc: Path, groups: Path) -> list[tuple[int, int]]:
    """(limit, used without reclaimable page cache) of this process's memory groups and all their ancestors.

    proc: /proc/self; groups: where control groups are mounted.
    """
    try:
        lines = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = groups, ("memory.max", "memory.current", "memory.stat")
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
        else:
            continue
        group = root / path.lstrip("/")
        while True:
            if (pair := _group(group, *names)) is not None:
                found.append(pair)
            if controllers == "" and (high := _group(group, "memory.high", *names[1:])) is not None:
                found.append(high)
            if group in (root, group.parent) or root not in group.parents:
                break
            group = group.parent
    return found


def _group(group: Path, limit_name: str, used_name: str, stat_name: str) -> tuple[int, int] | None:
    try:
        text = (group / limit_name).read_text(encoding="utf-8").strip()
        # v1 writes a number near 2^63 where there is no limit, v2 the word "max".
        if text == "max" or int(text) >= 1 << 60:
            return None
        used = int((group / used_name).read_text(encoding="utf-8"))
        stat = dict(line.split() for line in (group / stat_name).read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return None
    reclaimable = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    return int(text), max(0, used - reclaimable)
