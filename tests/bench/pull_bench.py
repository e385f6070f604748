"""How fast a pull is when the network is not what limits it: python tests/bench/pull_bench.py [MIB]

A hub on loopback gives one file; wall and CPU time of the fetching process, from its start to the model in its place.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import stand_in_hub
from fireside_engine import address
from gguf_writer import Tensor, gguf, settings

# The small buffers that make the count of bytes exact in tests would be what is measured.
stand_in_hub._Handler.setup = BaseHTTPRequestHandler.setup  # type: ignore[method-assign]
stand_in_hub.PIECE = 1024 * 1024


def main(mib: int) -> None:
    weights = mib * 1024 * 256
    head = gguf(settings(), [Tensor("token_embd.weight", (weights,))])[: -4 * weights]
    data = head + random.Random(1).randbytes(1024 * 1024) * mib
    with tempfile.TemporaryDirectory() as folder, closing(stand_in_hub.StandInHub()) as hub:
        hub.add("nobody/Lamp-GGUF", {"Lamp-Q4_K_M.gguf": data})
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": folder, "FIRESIDE_HOME": folder}
        began = time.perf_counter()
        command = address.pull_command("hf:nobody/Lamp-GGUF")
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        largest, out = 0, []
        for line in process.stdout or ():
            out.append(line)
            with suppress(OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                largest = max(largest, int(next(row for row in status if row.startswith("VmHWM")).split()[1]))
        process.wait()
        wall = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        event = json.loads(out[-1])
        assert event["fetched"] == len(data)
        cpu = used.ru_utime + used.ru_stime
        rate = len(data) / event["seconds"] / 1e6
        print(f"{mib} MiB: {wall:.1f} s in all, {event['seconds']:.1f} s fetching, {rate:.0f} MB/s")
        print(f"{cpu:.1f} s of CPU, {largest / 1024:.0f} MiB of memory")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
