"""Memory for states on their way, kept between uses."""

from __future__ import annotations

import mmap

import numpy as np

from fireside_engine.core.state_layout import Bytes


class Buffer:
    """One stretch of memory, used again and again: touching fresh pages costs more than copying into them.

    Its addresses are reserved for the largest use at once, so that a state that grows touches only what is new; not
    where the system counts addresses, because threads and libraries need them too.
    """

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._touched = 0
        self.largest = 0
        """Bytes of the largest use that is to be expected."""

    def of(self, size: int) -> Bytes:
        """`size` bytes with any content, valid until the next call. Raises MemoryError."""
        if self._map is None or len(self._map) < size:
            self.release()
            largest = size if _addresses_are_limited() else max(size, self.largest)
            self._map = _reserve(largest) or _reserve(size)
            if self._map is None:
                raise MemoryError(f"{size} bytes for a state")
        self._touched = max(self._touched, size)
        return np.frombuffer(self._map, np.uint8, size)

    def release(self) -> None:
        # Closing fails while an array still shows the memory; without a reference it goes with the last of them.
        self._map = None
        self._touched = 0

    @property
    def touched(self) -> int:
        """Bytes of memory that it holds, about."""
        return self._touched


def _addresses_are_limited() -> bool:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _reserve(size: int) -> mmap.mmap | None:
    granule = 2 << 20
    # Private, because shared memory, which is the default, gets no huge pages. Not accounted for where the system lets
    # us: most of it may never be touched.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        found = mmap.mmap(-1, -(-size // granule) * granule, flags=flags)
    except OSError:
        return None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        found.madvise(mmap.MADV_HUGEPAGE)
    return found
