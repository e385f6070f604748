"""Every number that decides how the server behaves, in one place, so that tests can make time pass faster.

What a user may change comes in through flags of `__main__`; the rest are the defaults of the product.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from fireside_engine.server.granting import Planner
from fireside_engine.server.planning import FitPlanner

MIB = 1024 * 1024


def _worker_command() -> tuple[str, ...]:
    # -P: whatever lies in the directory where the engine was started must not shadow a module of the worker.
    return (sys.executable, "-P", "-m", "fireside_engine.worker")


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are seconds, sizes are bytes."""

    worker_command: tuple[str, ...] = field(default_factory=_worker_command)
    deterministic: bool = False
    """Whether models load so that texts depend on the request alone, where neither request nor config.toml says."""
    draft: str = "auto"
    """The model that drafts, where neither request nor config.toml says: a name, auto or off."""
    idle_exit: float = 1800.0
    """The engine leaves after this long without work; 0 is never."""
    drain: float = 10.0
    """What running answers are given to end when the engine is asked to stop."""

    keep_alive: float = 900.0
    """How long a model stays loaded after its last request, unless the request says otherwise."""
    max_waiting: int = 48
    """Requests that may wait for one model, beyond those it decodes together; of one client fewer (core.fairness)."""
    load_patience: float = 120.0
    """How long a request waits for its model to load; the load goes on without it."""
    hold_limit: int = MIB // 16
    """Text that may wait for a client that does not read, until its request is held."""
    buffer_limit: int = 4 * MIB
    """Text that may wait for a client that does not read, before its request is ended at once."""
    send_timeout: float = 30.0
    """How long a client may take nothing from its connection."""
    send_buffer: int = MIB // 16
    """What the system may hold of an answer that is not read."""

    start_grace: float = 60.0
    """From the start of a worker process to its first sign of life."""
    beat_timeout: float = 30.0
    """A worker without a beat for this long is hung."""
    busy_limit: float = 120.0
    """A worker whose one step takes longer than this is hung."""
    stop_grace: float = 2.0
    """Between asking a process to leave, SIGTERM, and SIGKILL."""
    back_off: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
    """Wait before the next start, by the number of crashes in a row."""
    load_crash_limit: int = 3
    """As many crashes while loading, within `load_crash_window`, mark a model broken."""
    load_crash_window: float = 60.0
    broken_for: float = 300.0
    poison_window: float = 60.0
    """A request during which the process died `load_crash_limit` times within this is refused for `broken_for`."""

    planner: Callable[[], Planner] = FitPlanner
    """Decides whether and how models are loaded."""
    step_downs: int = 2
    """How often a load whose allocation failed is tried again with less."""

    shadow_idle: float = 20.0
    """After so long without work, shadows of routed answers are computed."""

    body_limit: int = 32 * MIB
    bodies_limit: int = 256 * MIB
    """Bodies of all requests that are here."""
    body_timeout: float = 60.0
    """How long the body of a request may stand still."""
    body_rate: int = 1024
    """Bytes a second that a body must bring after that time."""
    head_timeout: float = 10.0
    """From a new connection, or the first byte of a further request, to the end of its headers."""
    head_limit: int = MIB // 16
    """Headers of a request."""
    max_connections: int = 400
    """Most that are open at once: idle ones leave for new ones."""
    header_wait: float = 1.0
    """How long a stream waits for the worker's yes or no before its headers leave; later errors come as events."""
    ping: float = 10.0
    """A stream that has nothing to say shows this often that it lives."""
