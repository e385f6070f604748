"""Compiled kernels without waiting for the compiler.

The first compilation takes many seconds, and would hold the interpreter's lock while answers are written. So a process
of its own compiles into numba's cache on disk, at low priority; this process only loads. Until then the sampler's numpy
twin draws, the same tokens, and nothing is looked up for drafts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fireside_engine.errors import EngineError

log = logging.getLogger(__name__)

_COMPILE = """
import os, threading
def leave_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=leave_with_parent, daemon=True).start()
if hasattr(os, 'nice'):
    os.nice(10)
from fireside_engine.core import sampling
from fireside_engine.core.speculation import lookup
sampling.warm_up()
lookup.warm_up()
"""
_COMPILE_SECONDS = 300
_MARK = "compiled"


def use_own_cache() -> None:
    """Numba notices a change in a kernel's file, not in what the kernel inlines: each version gets its own cache.

    Where that directory cannot be written, a temporary one serves: compiled once more is better than never.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    if not base:
        return
    cache = Path(base) / _fingerprint()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        log.warning("compiled kernels cannot be kept: %s", error)
        cache = Path(tempfile.mkdtemp(prefix="fireside-kernels-"))
    os.environ["NUMBA_CACHE_DIR"] = str(cache)


def _fingerprint() -> str:
    core = Path(__file__).parent.parent / "core"
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted([*core.glob("sampling/*.py"), *core.glob("speculation/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def warm_up() -> None:
    """Compile if need be, and load. What goes wrong is logged: sampling then stays with the twin, slow but right."""
    from fireside_engine.core import sampling
    from fireside_engine.core.speculation import lookup

    cache = os.environ.get("NUMBA_CACHE_DIR")
    try:
        if cache and not (Path(cache) / _MARK).exists():
            _compile(Path(cache))
        sampling.warm_up()
        lookup.warm_up()
    except EngineError as error:
        log.error("%s", error)
    except subprocess.CalledProcessError as error:
        log.error("the kernels could not be compiled: %s", error.stderr.decode("utf-8", "replace")[-500:])
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("the kernels could not be compiled: %s", error)


def _compile(cache: Path) -> None:
    # Nothing is ever written: the input of the compiler ends when this process does, however it does.
    source, lifeline = os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-P", "-c", _COMPILE],
            check=True,
            timeout=_COMPILE_SECONDS,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(source)
        os.close(lifeline)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / _MARK).touch()
