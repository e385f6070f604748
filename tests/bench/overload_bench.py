"""Ten times what the engine can do, for a minute, and a quiet client beside it.

usage: python tests/bench/overload_bench.py MODEL.gguf [--clients 60] [--seconds 60]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from live import Live, chat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    live = Live.connect(args.model)
    live.post("/v1/chat/completions", chat(live.model, "hi", max_tokens=2))
    before = live.use()
    slots = live.worker()["info"]["n_slots"]
    end = time.perf_counter() + args.seconds
    statuses: Counter[tuple[str, int]] = Counter()
    refusals: list[float] = []
    waits: dict[str, list[float]] = {"flood": [], "quiet": []}
    peak = dict(before)

    def flood(number: int) -> None:
        while time.perf_counter() < end:
            body = chat(live.model, f"Story {number}", max_tokens=args.tokens)
            status, _, seconds = live.post("/v1/chat/completions", body, {"User-Agent": "flood"})
            statuses["flood", status] += 1
            if status == 429:
                refusals.append(seconds)
                time.sleep(0.2)
            else:
                waits["flood"].append(seconds)

    def quiet() -> None:
        while time.perf_counter() < end:
            body = chat(live.model, "Hello", max_tokens=8)
            status, _, seconds = live.post("/v1/chat/completions", body, {"User-Agent": "quiet"})
            statuses["quiet", status] += 1
            waits["quiet"].append(seconds)
            time.sleep(1.0)

    threads = [threading.Thread(target=flood, args=(i,)) for i in range(args.clients)]
    threads.append(threading.Thread(target=quiet))
    for thread in threads:
        thread.start()
    while time.perf_counter() < end:
        peak = {name: max(peak[name], use) for name, use in live.use().items()}
        time.sleep(1.0)
    for thread in threads:
        thread.join()
    print(f"{args.clients} clients on {slots} slots for {args.seconds:.0f} s: {dict(statuses)}")
    for name, found in waits.items():
        if found:
            print(f"{name}: {len(found)} answers, median {statistics.median(found):.1f} s, longest {max(found):.1f} s")
    if refusals:
        middle = statistics.median(refusals)
        print(f"{len(refusals)} refusals, median {middle * 1e3:.0f} ms, slowest {max(refusals) * 1e3:.0f} ms")
    print(f"MiB, threads, descriptors: before {before}, peak {peak}, after {live.use()}")


if __name__ == "__main__":
    main()
