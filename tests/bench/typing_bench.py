"""Keystrokes of one file beside a running chat: what each request reads of its prompt, how long it takes.

usage: python tests/bench/typing_bench.py MODEL.gguf [--keys 50] [--gap 0.15]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from live import Live, Stream, chat

FILE = "\n\n".join(
    f'def area_{i}(width: float, height: float) -> float:\n    """Area number {i}."""\n    return width * height * {i}'
    for i in range(24)
)
TYPED = "def volume(width: float, height: float, depth: float) -> float:\n    return width * "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--gap", type=float, default=0.15, help="seconds between keystrokes")
    args = parser.parse_args()
    live = Live.connect(args.model)
    editor = {"User-Agent": "editor"}

    def infill(typed: str) -> dict[str, object]:
        return {
            "model": live.model, "input_prefix": f"{FILE}\n\n{typed}", "input_suffix": "\n\n\nprint(volume(1, 2, 3))\n",
            "n_predict": 24, "temperature": 0, "t_max_predict_ms": 1000, "cache_prompt": True,
        }  # fmt: skip

    live.post("/infill", infill(""), editor)
    fields = {"max_tokens": 100_000, "fireside": {"save": False}}
    beside = Stream(
        live, chat(live.model, "Explain how a compiler works, at length.", **fields), {"User-Agent": "chat"}
    )
    beside.start()
    while len(beside.times) < 5:
        time.sleep(0.05)
    answered: list[tuple[int, dict[str, float], float]] = []

    def read(number: int, connection: object, began: float) -> None:
        try:
            body = json.loads(connection.getresponse().read())  # type: ignore[attr-defined]
        except (OSError, ValueError, AttributeError):
            return
        answered.append((number, body["timings"], time.perf_counter() - began))

    last = None
    began_all = time.perf_counter()
    for number in range(args.keys):
        if last is not None and last.sock is not None:
            # A new keystroke: the editor drops the old request.
            last.sock.shutdown(2)
        typed = TYPED[: len(TYPED) - args.keys + number + 1]
        last = live.open("/infill", infill(typed), editor)
        reader = threading.Thread(target=read, args=(number, last, time.perf_counter()))
        reader.start()
        time.sleep(args.gap if number < args.keys - 1 else 0)
    reader.join()
    chat_rate = beside.rate(began_all, time.perf_counter())
    print(f"{args.keys} keystrokes, {len(answered)} answered before the next key")
    for number, timings, seconds in answered[-5:]:
        print(f"key {number}: cached {timings['cache_n']}, read {timings['prompt_n']} in {seconds:.2f} s")
    # Then each key waits for its answer.
    counts, times = [], []
    for number in range(8):
        _, body, seconds = live.post("/infill", infill(TYPED + "height * depth"[: number + 1]), editor)
        timings = json.loads(body)["timings"]
        counts.append((timings["cache_n"], timings["prompt_n"]))
        times.append(seconds)
    print(f"one after the other: (cached, read) {counts}, median {statistics.median(times):.2f} s")
    print(f"the chat said {chat_rate:.1f} tokens/s meanwhile; its error: {beside.error or 'none'}")
    status, body, _ = live.post("/v1/chat/completions", chat(live.model, "Hello again", max_tokens=1))
    print(f"status {status}; slots: {live.worker()['info']['n_slots']}")


if __name__ == "__main__":
    main()
