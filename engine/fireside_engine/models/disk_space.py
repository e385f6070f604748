"""Room on the disk: asked for before a download and while it runs, so that it ends in words and not in a full disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from fireside_engine.errors import FiresideError, InvalidRequest, NoSpace
from fireside_engine.models.names import clean, readable_bytes

RESERVE = 1024**3
"""Bytes that a download leaves free: the rest of the machine writes to this disk too."""
RECHECK = 256 * 1024**2
"""Bytes between two looks while a download runs."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def require(folder: Path, needed: int) -> None:
    """Raises NoSpace unless `needed` more bytes fit beside what must stay free. `folder`, or one above it, exists."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise NoSpace(
            f"The download needs {readable_bytes(needed)} more on the disk of {folder}, which has "
            f"{readable_bytes(free)} free, {readable_bytes(RESERVE)} of which stay free.",
            hint="Free some space, take a smaller quantization, or move the models (FIRESIDE_HOME). "
            "`fireside models rm NAME` removes a model.",
            need=needed + RESERVE,
            free=free,
        )


def in_words(error: OSError, path: Path) -> FiresideError:
    """What a failed write of a download means to its owner."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return NoSpace(
            f"The disk is full: {clean(str(path.parent))} takes no more bytes ({reason}).",
            hint="Free some space and give the same command again: what was fetched is kept.",
        )
    return InvalidRequest(
        f"{clean(str(path))} cannot be written: {reason}.",
        hint="See who owns the folder, or move the models (FIRESIDE_HOME).",
    )
