"""How many bytes of main memory this machine reads in a second: the first guess of decoding speed."""

from __future__ import annotations

import threading
import time

_SIZE = 64 * 1024 * 1024
"""Larger than the caches, and allocated in a moment."""


def measure(n_threads: int, *, seconds: float = 0.4) -> float:
    """Bytes a second, read by so many threads at once. numpy's sums run without the interpreter's lock."""
    # Here, so that a server that measures nothing does not load it.
    import numpy as np

    n = max(1, n_threads)
    blocks = [np.ones(_SIZE // 8, np.int64) for _ in range(n)]
    read = [0] * n
    start = threading.Barrier(n + 1)
    until = [0.0]

    def work(index: int) -> None:
        start.wait()
        while time.perf_counter() < until[0]:
            int(blocks[index].sum())
            read[index] += _SIZE

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(n)]
    for thread in threads:
        thread.start()
    until[0] = time.perf_counter() + seconds
    began = time.perf_counter()
    start.wait()
    for thread in threads:
        thread.join()
    return sum(read) / (time.perf_counter() - began)
