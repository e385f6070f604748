"""Microseconds that looking up drafts takes for each token, by the length of the history, and its memory.

usage: python tests/bench/lookup_bench.py [FILE…]

The history is the text of the files (those of this repository unless given), split into words as a stand-in for
tokens, repeated to the length wanted. Measured is what decoding a token costs: to index it, to look the text's end up
in the conversation and in a full store of earlier answers, and to draft.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from fireside_engine.core.speculation import lookup
from fireside_engine.core.speculation.calibration import Calibration
from fireside_engine.core.speculation.lookup import Index, Store
from fireside_engine.core.speculation.tally import Tally
from fireside_engine.core.speculation.tracker import Tracker

MEASURED = 1000


def main() -> None:
    root = Path(__file__).parents[2]
    files = [Path(name) for name in sys.argv[1:]] or sorted((root / "engine").rglob("*.py"))
    words = re.findall(r"\w+|[^\w\s]|\s+", "".join(path.read_text(encoding="utf-8") for path in files))
    ids: dict[str, int] = {}
    tokens = np.array([ids.setdefault(word, len(ids)) for word in words], np.int32)
    lookup.warm_up()
    store = Store()
    for start in range(0, 100_000, 500):
        store.add(tokens[start % 9000 :][:16], np.roll(tokens, -start)[:500])
    for length in (1024, 4096, 32_768):
        history = np.resize(tokens, length + 1)
        index = Index(length + 1)
        began = time.perf_counter()
        index.push(history, length - MEASURED)
        indexing = (time.perf_counter() - began) / (length - MEASURED) * 1e6
        tracker = Tracker(history, index, store, Calibration(), Tally(), greedy=True, eog=frozenset())
        times = []
        for n in range(length - MEASURED, length):
            began = time.perf_counter()
            tracker.propose(n, 31, (), ())
            tracker.learn(n, [int(history[n])], None)
            times.append(time.perf_counter() - began)
        each = f"{median(times) * 1e6:.1f} µs a token (mean {sum(times) / len(times) * 1e6:.1f})"
        memory = f"{index.nbytes / 1e6:.1f} MB, store {store.nbytes / 1e6:.1f} MB"
        print(f"{length:,} tokens: {each}, {indexing:.2f} to index one of a prompt; index {memory}", flush=True)


if __name__ == "__main__":
    main()
