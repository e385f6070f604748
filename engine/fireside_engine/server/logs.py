"""The engine's log file: what it did and what went wrong, never what was asked or answered."""

from __future__ import annotations

import logging
import logging.handlers
import traceback
from pathlib import Path
from types import TracebackType

from fireside_engine import errors

LEVELS = ("debug", "info", "warning", "error")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Discreet(logging.Formatter):
    """Shows where an exception came from; its words only where they are known to quote no prompt."""

    def formatException(  # noqa: N802 - the name is logging's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        kind, error, trace = ei
        if kind is None or error is None:
            return ""
        words = str(error) if isinstance(error, errors.FiresideError | OSError) else "(message withheld)"
        return "".join(traceback.format_tb(trace)) + f"{kind.__qualname__}: {words}"


def set_up(directory: Path, level: str) -> logging.Handler:
    """Log into `directory`/engine.log, three files of 1 MiB at most. Returns the handler, for `tear_down`."""
    directory.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        directory / "engine.log", maxBytes=1024 * 1024, backupCount=2, encoding="utf-8", delay=True
    )
    handler.setFormatter(Discreet(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    # uvicorn says on every start what our own lines say better.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return handler


def tear_down(handler: logging.Handler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()
