"""`python -m fireside_engine.worker.workshop_child`: quantizes and measures files, apart from all that answers.

Reads one JSON object that says what to do, and writes one for each line of progress; the last has `done` or `error`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from fireside_engine.errors import FiresideError, InternalError

Say = Callable[[dict[str, Any]], None]


def quantize(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """The file appears under its name when it is whole."""
    from fireside_engine.llama import quantize as quantization

    source, target = Path(job["source"]), Path(job["target"])
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    told = _Steps(say, {"quant": job["quant"]})
    try:
        quantization.quantize(source, partial, job["quant"], job["threads"], told)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return {"path": str(target), "size": target.stat().st_size}


def measure(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """The reference first, then each file against it."""
    from fireside_engine.llama import divergence

    reference, threads = Path(job["reference"]), job["threads"]
    results = []
    with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
        kept = Path(folder) / "reference.f32"
        with divergence.opened(reference, threads) as context:
            tokens = divergence.tokens_of(context, job["text"], job["tokens"])
            rates = divergence.keep_reference(context, tokens, kept, _Steps(say, {"file": reference.name}))
        for name in job["files"]:
            path = Path(name)
            with divergence.opened(path, threads) as context:
                found = divergence.diverge(context, tokens, kept, _Steps(say, {"file": path.name}))
            results.append({"path": name, **asdict(found)})
    return {"tokens": len(tokens), "reference": {"path": str(reference), "rates": asdict(rates)}, "files": results}


class _Steps:
    """Progress in steps of a hundredth."""

    def __init__(self, say: Say, head: dict[str, Any]) -> None:
        self._say = say
        self._head = head
        self._last = -1.0

    def __call__(self, fraction: float) -> None:
        if fraction >= min(1.0, self._last + 0.01):
            self._last = fraction
            self._say({**self._head, "fraction": round(fraction, 3)})


def main() -> int:
    out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=out, flush=True)

    job = json.loads(sys.stdin.readline())
    try:
        say({"done": {"quantize": quantize, "measure": measure}[job["kind"]](job, say)})
    except FiresideError as error:
        say({"error": error.to_dict()})
        return 1
    except OSError as error:
        say({"error": InternalError(f"It could not be written: {error.strerror or error}.").to_dict()})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
