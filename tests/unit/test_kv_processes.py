"""Several processes on one store, killed at random points: no wrong content, and nothing is left behind."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fireside_engine
from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.store import Store
from kv_faults import OTHER_ROOT, ROOT, files, restored, temporary_files
from kv_process import SIZE, prompt

BUDGET = 60 * (SIZE + 4096)
PROCESSES = 4
KILLS = 24


def start(directory: Path, seed: int) -> subprocess.Popen[str]:
    tests = Path(__file__).parents[1]
    command = [sys.executable, str(tests / "kv_process.py"), str(directory), str(seed), str(BUDGET)]
    environment = {"PYTHONPATH": f"{tests}:{Path(fireside_engine.__file__).parents[1]}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("harm_the_index", [False, True])
def test_processes_that_are_killed_leave_a_store_that_is_right(tmp_path: Path, harm_the_index: bool) -> None:
    directory = tmp_path / "kv"
    rng = random.Random(11)
    running = [start(directory, seed) for seed in range(PROCESSES)]
    output = []
    try:
        for process in running:
            assert process.stdout is not None
            output.append(process.stdout.readline())
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.0, 0.25))
            if harm_the_index and kill % 4 == 0:
                for path in directory.glob("index-*.sqlite"):
                    path.unlink() if kill % 8 else path.write_bytes(b"noise" * 3000)
            victim = rng.randrange(PROCESSES)
            running[victim].kill()
            output.append(running[victim].communicate()[0])
            running[victim] = start(directory, 100 + kill)
            if kill % 6 == 0:
                process = running[victim]
                assert process.stdout is not None
                output.append(process.stdout.readline())
    finally:
        for process in running:
            process.kill()
            output.append(process.communicate()[0])
    text = "".join(output)
    assert "wrong" not in text
    assert "Traceback" not in text, text
    assert text.count("round") > KILLS

    store = Store(directory, budget=BUDGET)
    store.lookup(ROOT, [1])
    assert store.tier.index.wait(30)
    store.sweep()
    held = upkeep.summary(store).bytes
    assert held == sum(path.stat().st_size for path in files(directory)) <= BUDGET
    assert not temporary_files(directory)
    assert upkeep.verify(store).removed.records == 0
    ends = [
        restored(store, prompt(random.Random(seed)), root=root, size=SIZE)
        for seed in range(200)
        for root in (ROOT, OTHER_ROOT)
    ]
    assert sum(end > 0 for end in ends) > 20
    store.close()
    assert len(list(directory.glob("index-*.sqlite"))) == 1
