"""Processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def usable_cores() -> int:
    """Physical cores this process may run on: affinity, SMT siblings and CPU quotas of control groups counted."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    physical, threads = psutil.cpu_count(logical=False), psutil.cpu_count(logical=True)
    siblings = max(1, round(threads / physical)) if physical and threads else 1
    cores = max(1, logical // siblings)
    if (quota := _quota()) is not None:
        cores = min(cores, max(1, int(quota)))
    return cores


def _quota() -> float | None:
    """CPUs granted by the control group, or None."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        base = Path("/sys/fs/cgroup/cpu")
        quota_us = int((base / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period_us = int((base / "cpu.cfs_period_us").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def threads_for_decoding(cores: int) -> int:
    """Threads of llama.cpp: all physical cores up to 4, then one is left for the server and the terminal.

    ggml's barrier spins, so a thread that has to share its core stalls all others; on few cores giving one away costs
    more than it saves.
    """
    return cores if cores <= 4 else cores - 1
