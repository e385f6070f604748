"""The environment that worker processes get. Workers read files of strangers, so they are told no secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|COOKIE", re.IGNORECASE)


_SPINS = "10000"
"""How often a thread of llama.cpp looks before it sleeps at a barrier (libgomp). The default of about 300,000 wins
nothing on an idle machine, and when another program wants a core, threads spin for ones that are not running: 20 to 80
times slower was measured on two cores."""


_ARENAS = "2"
"""Stretches that the C library's allocator opens for threads. Each reserves 64 MiB of addresses, by default one for
every thread up to eight for each core, which under a limit of address space is memory that the model does not get
(docs/log.md). The threads of a worker allocate little at the same time."""


def worker_environment(environ: Mapping[str, str], cache_dir: Path) -> dict[str, str]:
    """`environ` without anything named like a secret, and with what a worker needs."""
    kept = {name: value for name, value in environ.items() if not _SECRET.search(name)}
    # ggml would start a debugger on the dying process: seconds during which its clients wait for the error.
    kept["GGML_NO_BACKTRACE"] = "1"
    kept.setdefault("NUMBA_CACHE_DIR", str(cache_dir / "numba"))
    kept.setdefault("GOMP_SPINCOUNT", _SPINS)
    kept.setdefault("MALLOC_ARENA_MAX", _ARENAS)
    return kept
