"""200 kills at random points under load: `python tests/bench/kill_bench.py [KILLS]`. About 3 s a kill."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fireside_engine import address
from killing import Killing, left_behind
from real_engine import RealEngine
from tiny_models import write_llama


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ[address.HOME_VARIABLE] = str(home)
        engine = RealEngine(home, tiny=write_llama(Path(folder) / "tiny.gguf"))
        killing = Killing(engine, "tiny")
        began = time.perf_counter()
        try:
            killing.run(kills)
        finally:
            engine.stop()
        orphans, verified = left_behind(home)
        print(f"{kills} kills in {time.perf_counter() - began:.0f} s")
        print(f"answers {killing.answered}, interrupted {killing.interrupted}, wrong {len(killing.wrong)}")
        print(f"prompt tokens from KV {killing.cached}, of these from disk {killing.from_disk}")
        print(f"bytes left behind after the sweep {orphans}; {verified}")
        for line in killing.wrong[:5]:
            print("WRONG", line)


if __name__ == "__main__":
    main()
