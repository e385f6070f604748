"""`python -m fireside_engine.server.machine_report`: this machine as models are planned with it, as one JSON object.

For `fireside doctor`, which starts no engine and writes nothing.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import unused_flags
from fireside_engine.hardware import bandwidth
from fireside_engine.hardware.machine import look
from fireside_engine.server.book_file import BookFile, Load
from fireside_engine.server.dry_runs import DryRuns
from fireside_engine.server.fitting import machine_json
from fireside_engine.server.planning import DRIFT, DRIFT_BYTES


def report() -> dict[str, Any]:
    """Raises InternalError when llama.cpp cannot be loaded."""
    with DryRuns() as runs:
        machine = look(runs.devices, runs.build)
    learned = BookFile().learned
    rates = learned.book.bandwidth or {HOST: bandwidth.measure(machine.n_threads)}
    return {
        **machine_json(machine),
        "unused": list(unused_flags(machine.flags, machine.build)),
        "bandwidth": dict(rates),
        "drifts": [
            {"file": name.partition(":")[0], "predicted": load.predicted_devices, "actual": load.actual_devices}
            for name, load in learned.loads.items()
            if drifted(load)
        ],
    }


def drifted(load: Load) -> bool:
    """Whether the buffers of a load were others than predicted."""
    off = abs(load.actual_devices - load.predicted_devices)
    return off > max(DRIFT * load.predicted_devices, DRIFT_BYTES)


if __name__ == "__main__":
    print(json.dumps(report()))
    sys.exit(0)
