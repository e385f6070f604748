"""A tier that turns itself off when the disk fails, and tries again later."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

PAUSE = 60.0
"""Seconds without a try after a failure."""


class Switch:
    """One direction, reading or writing. Safe to call from any thread."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._off_until = 0.0
        self._failing = False

    @property
    def on(self) -> bool:
        return self._clock() >= self._off_until

    def failed(self, error: BaseException | str) -> None:
        """Off for PAUSE. One warning for a row of failures, however long it is."""
        with self._lock:
            first, self._failing = not self._failing, True
            self._off_until = self._clock() + PAUSE
        if first:
            log.warning("%s the KV cache is off, answers go on without it: %s", self._what, error)

    def worked(self) -> None:
        if not self._failing:
            return
        with self._lock:
            self._failing = False
            self._off_until = 0.0
        log.info("%s the KV cache works again", self._what)
