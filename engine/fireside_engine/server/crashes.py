"""How patient the engine is with a model whose process dies. Pure: times come in, decisions go out."""

from __future__ import annotations

from collections import deque

from fireside_engine import errors
from fireside_engine.server.settings import Settings


class CrashRecord:
    """Crashes in a row make the next start wait; crashes while loading, in quick succession, forbid it for a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_a_row = 0
        self._last = 0.0
        self._while_loading: deque[float] = deque(maxlen=settings.load_crash_limit)
        self._broken_until: float | None = None

    def crashed(self, now: float, *, loading: bool) -> None:
        self._in_a_row += 1
        self._last = now
        if not loading:
            return
        self._while_loading.append(now)
        full = len(self._while_loading) == self._settings.load_crash_limit
        if full and now - self._while_loading[0] <= self._settings.load_crash_window:
            self._broken_until = now + self._settings.broken_for

    def loaded(self) -> None:
        self._while_loading.clear()

    def answered(self) -> None:
        """A request came to its end: the model works."""
        self._in_a_row = 0

    def wait(self, now: float) -> float:
        """Seconds until the next start is due."""
        if self._in_a_row == 0:
            return 0.0
        steps = self._settings.back_off
        return max(0.0, self._last + steps[min(self._in_a_row, len(steps)) - 1] - now)

    def forbidden(self, now: float) -> float:
        """Seconds for which the model counts as broken; 0 when it may be started."""
        if self._broken_until is None:
            return 0.0
        if now >= self._broken_until:
            self._broken_until = None
            self._while_loading.clear()
            self._in_a_row = 0
            return 0.0
        return self._broken_until - now


def broken(name: str, seconds: float, last: errors.FiresideError | None) -> errors.FiresideError:
    """What a request for a broken model is told: how it died, and when it will be tried again."""
    message = f"{name} crashes its process whenever it is loaded" + (f": {last.message}" if last else ".")
    hint = f"It is tried again in {max(1, round(seconds))} s, or as soon as its file changes."
    return errors.WorkerCrashed(message, hint=hint, **(last.details if last else {}))
