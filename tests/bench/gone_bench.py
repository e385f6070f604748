"""Clients that leave in the queue, in the prompt and in the answer, plain and streamed: what stays of them.

usage: python tests/bench/gone_bench.py MODEL.gguf [--cycles 200]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from live import Live, Stream, chat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cycles", type=int, default=200)
    args = parser.parse_args()
    live = Live.connect(args.model)

    def neighbour() -> Stream:
        fields = {"max_tokens": 120, "seed": 5, "temperature": 0, "fireside": {"save": False}}
        return Stream(live, chat(live.model, "Tell a story about a boat.", **fields), {"User-Agent": "neighbour"})

    alone = neighbour().start().join().text
    long = "word " * 700
    waits = []

    def cycle(number: int) -> None:
        prompt = [f"{number} {long}", f"{number} Tell me more."][number % 2]
        fields = {"max_tokens": 500, "stream": number % 4 < 2, "fireside": {"save": False}}
        n_clients = 1 if number % 8 else 7
        clients = [live.open("/v1/chat/completions", chat(live.model, prompt, **fields)) for _ in range(n_clients)]
        time.sleep(0.05 + number % 5 * 0.1)
        began = time.perf_counter()
        for client in clients:
            client.close()
        while live.worker()["active"] > (1 if beside._thread.is_alive() else 0):
            time.sleep(0.01)
        waits.append(time.perf_counter() - began)

    beside = neighbour().start()
    for number in range(10):
        cycle(number)
    before = live.use()
    texts = []
    for number in range(args.cycles):
        if not beside._thread.is_alive():
            texts.append(beside.join().text)
            beside = neighbour().start()
        cycle(number)
    texts.append(beside.join().text)
    time.sleep(2.0)
    same = sum(text == alone for text in texts)
    print(f"{args.cycles} cycles; slots free {max(waits):.2f} s after the client left, at most")
    print(f"MiB, threads, descriptors: before {before}, after {live.use()}")
    print(f"the neighbour said the same {same} of {len(texts)} times; active now {live.worker()['active']}")


if __name__ == "__main__":
    main()
