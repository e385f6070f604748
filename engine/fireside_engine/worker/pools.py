"""Threads beside decoding, and what becomes of it when memory for them, or for what they do, runs out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from fireside_engine.errors import FiresideError, InsufficientMemory, InternalError
from fireside_engine.hardware import memory

_START_SECONDS = 60.0


def started_pool(n: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads all run. Started when they are first needed, one for which there is no memory would cost a
    request its answer; now it costs the load, which is tried again with less.

    Raises RuntimeError as `threading.Thread.start` does.
    """
    pool = ThreadPoolExecutor(n, thread_name_prefix=name)
    everybody = threading.Barrier(n + 1)
    try:
        for _ in range(n):
            pool.submit(everybody.wait, _START_SECONDS)
        everybody.wait(_START_SECONDS)
    except BaseException:
        everybody.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return pool


def typed(error: BaseException, what: str) -> FiresideError:
    """An unforeseen exception as an error for the user. what: the beginning of a sentence, without its end."""
    if memory.ran_out(error):
        return InsufficientMemory(
            f"{what}: there is no memory left for it.",
            hint="Close other programs or models, or load this model with a shorter context.",
            free=memory.spare(),
        )
    return InternalError(f"{what} ({type(error).__name__}).")
