"""Tokens per second of several streams at once over those of one, interleaved rounds.

usage: python tests/bench/streams_bench.py MODEL.gguf [--streams 4] [--rounds 5] [--tokens 64] [--deterministic]
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from pathlib import Path

from fireside import engine_process
from fireside.client import EngineClient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--deterministic", action="store_true")
    args = parser.parse_args()
    endpoint = engine_process.connect()
    name = EngineClient(endpoint).post("/fireside/register", {"path": str(args.model.resolve())})["name"]

    def answer(number: int) -> None:
        body = {
            "model": name,
            "messages": [{"role": "user", "content": f"Tell me a story about {number} friends."}],
            "max_tokens": args.tokens,
            "seed": number,
            "ignore_eos": True,
            "stream": True,
            "fireside": {"deterministic": args.deterministic},
        }
        for _ in EngineClient(endpoint).chat(body):
            pass

    def rate(n: int) -> float:
        threads = [threading.Thread(target=answer, args=(i,)) for i in range(n)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return n * args.tokens / (time.perf_counter() - began)

    rates: dict[int, list[float]] = {1: [], args.streams: []}
    for i in range(args.rounds + 1):
        for n, values in rates.items():
            values.append(rate(n))
        print(f"round {i}: " + ", ".join(f"{n}: {values[-1]:.1f}" for n, values in rates.items()), flush=True)
    one, many = (statistics.median(values[1:]) for values in rates.values())
    print(f"tokens/s, prompts included: one {one:.1f}, {args.streams} together {many:.1f}, ratio {many / one:.2f}")


if __name__ == "__main__":
    main()
