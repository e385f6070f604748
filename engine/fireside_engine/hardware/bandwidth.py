"""How many bytes of main memory this machine reads in a second: the first guess of decoding speed."""

from __future__ import annotations

import threading
import time

_SIZE = 64 * 1024 * 1024
"""Larger than the caches, and allocated in a moment."""
_ROUNDS = 3
"""The best of them counts: what else runs only ever makes it look slower."""


def measure(n_threads: int, *, seconds: float = 0.15) -> float:
    """Bytes a second, read by so many threads at once; numpy looks for a maximum without the interpreter's lock."""
    # Here, so that a server that measures nothing does not load it.
    import numpy as np

    blocks = [np.ones(_SIZE // 4, np.int32) for _ in range(max(1, n_threads))]
    best = 0.0
    for _ in range(_ROUNDS):
        read = [0] * len(blocks)
        began = time.perf_counter()
        until = began + seconds

        def work(index: int, until: float = until, read: list[int] = read) -> None:
            while time.perf_counter() < until:
                int(blocks[index].max())
                read[index] += _SIZE

        threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(blocks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(read) / (time.perf_counter() - began))
    return best
