"""Memory for states on their way, kept between uses."""

from __future__ import annotations

import mmap

import numpy as np

from fireside_engine.core.state_layout import Bytes


class Buffer:
    """Memory that is kept between uses, because touching fresh pages costs more than copying into them."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None

    def of(self, size: int) -> Bytes:
        """`size` bytes with any content, valid until the next call. Raises MemoryError."""
        if self._map is None or len(self._map) < size:
            self.release()
            granule = 2 << 20
            # Shared memory, which is the default, gets no huge pages.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            try:
                self._map = mmap.mmap(-1, -(-size // granule) * granule, flags=flags)
            except OSError as error:
                raise MemoryError(f"{size} bytes for a state") from error
            if hasattr(mmap, "MADV_HUGEPAGE"):
                self._map.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(self._map, np.uint8, size)

    def release(self) -> None:
        # Closing fails while an array still shows the memory; without a reference it goes with the last of them.
        self._map = None

    @property
    def size(self) -> int:
        return len(self._map) if self._map else 0
