"""What drafts do to the total speed of several answers at once, against plain decoding, in turn.

usage: python tests/bench/crowd_bench.py MODEL.gguf [--streams 4] [--rounds 3] [-n 96] [--only edit]

All prompts of `fireside bench --speculation` are asked at once, as many as there are streams; with --only, one of them
by all. The rate is that of all tokens from the first text of any answer to the last. The first round is not counted:
after it the engine knows the prompts.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from statistics import median

from fireside import engine_process, traffic
from fireside.client import EngineClient
from fireside.wire import JsonObject


class Answer(threading.Thread):
    """Notes when text came, and how many tokens it was."""

    def __init__(self, client: EngineClient, body: JsonObject) -> None:
        super().__init__()
        self._client = client
        self._body = body
        self.times: list[float] = []
        self.tokens = 0

    def run(self) -> None:
        for chunk in self._client.chat(self._body):
            if any(choice.get("delta", {}).get("content") for choice in chunk.get("choices") or ()):
                self.times.append(time.perf_counter())
            self.tokens = int((chunk.get("usage") or {}).get("completion_tokens") or self.tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", type=int, default=96)
    parser.add_argument("--only")
    args = parser.parse_args()
    endpoint = engine_process.connect()
    name = EngineClient(endpoint).post("/fireside/register", {"path": str(args.model.resolve())})["name"]
    known = [w for w in traffic.built_in() if args.only in (None, w.name)]
    bodies = [known[i % len(known)].body for i in range(args.streams)]

    def rate(*, speculate: bool) -> float:
        common: JsonObject = {
            "model": name,
            "max_tokens": args.n,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "fireside": {"save": False, "speculate": speculate},
        }
        answers = [Answer(EngineClient(endpoint), {**body, **common}) for body in bodies]
        for answer in answers:
            answer.start()
        for answer in answers:
            answer.join()
        seconds = max(a.times[-1] for a in answers) - min(a.times[0] for a in answers)
        return sum(answer.tokens for answer in answers) / seconds

    rates: dict[bool, list[float]] = {True: [], False: []}
    for i in range(args.rounds + 1):
        for speculate in (True, False) if i % 2 else (False, True):
            measured = rate(speculate=speculate)
            if i:
                rates[speculate].append(measured)
    drafts, plain = median(rates[True]), median(rates[False])
    ratio = median(a / b for a, b in zip(rates[True], rates[False], strict=True) if b)
    print(f"{args.streams} at once: plain {plain:.1f}, drafts {drafts:.1f} tokens/s in all, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
