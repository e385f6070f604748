"""`python -m fireside_engine.worker.dry_run_child`: asks llama.cpp what models would occupy, and may die of it.

One JSON object for each line. It first says which devices there are and what llama.cpp was built for; then each
question `{"path": …, "setups": […]}` gets `{"results": […]}` or `{"error": …}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from fireside_engine.core.footprint import Setup
from fireside_engine.errors import FiresideError

CPU_SECONDS = 60
DATA = 4 * 1024**3
"""Bytes that a dry run may allocate: recurrent state is the only large thing that it really makes."""


def limit() -> None:
    """A header that makes llama.cpp spin or fill memory ends this process, and nothing else."""
    try:
        import resource
    except ImportError:  # Windows has neither
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_DATA, DATA)):
        soft, hard = resource.getrlimit(kind)
        bound = most if soft == resource.RLIM_INFINITY else min(soft, most)
        resource.setrlimit(kind, (bound, hard))


def answer(question: dict[str, Any]) -> dict[str, Any]:
    from fireside_engine.llama.dry_run import dry_run

    try:
        setups = [Setup(**setup) for setup in question["setups"]]
        results = dry_run(Path(question["path"]), setups)
    except FiresideError as error:
        return {"error": error.to_dict()}
    return {"results": [[asdict(part) for part in parts] for parts in results]}


def serve(questions: Iterable[str], out: TextIO) -> None:
    from fireside_engine.llama import library
    from fireside_engine.llama.devices import devices

    library.start()
    hello = {
        "devices": [asdict(device) for device in devices()],
        "build": library.build(),
        # Whether there could ever be a device without another build.
        "offload": library.supports_offload(),
    }
    print(json.dumps(hello), file=out, flush=True)
    for line in questions:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


def main() -> int:
    # What llama.cpp prints must not get between the answers.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    limit()
    serve(sys.stdin, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
