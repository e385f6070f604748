"""Decoding rate of fireside over that of a bare llama_decode loop with the same binding, on the same machine.

usage: python tests/bench/decode_bench.py MODEL.gguf [--rounds 7] [--tokens 64]

Both decode greedily after the same prompt, with the same context, KV type and threads; the bare loop takes the argmax
in numpy and does nothing else. Rounds are interleaved; the ratio is that of the medians. fireside streams to
a client; its rate is `timings.predicted_per_second`: tokens after the first over the time they took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fireside import engine_process
from fireside.client import EngineClient

PROMPT = "Write a Python function that parses a CSV file without the csv module, with comments."


def bare(path: Path) -> None:
    """Child process: one line of text in, one line of JSON out, for each round."""
    import llama_cpp.llama_cpp as api
    import numpy as np

    from fireside_engine.hardware.cpu import threads_for_decoding, usable_cores
    from fireside_engine.llama.context import Context, ContextOptions
    from fireside_engine.llama.model import Model
    from fireside_engine.llama.tokenizer import Tokenizer

    model = Model(path)
    threads = threads_for_decoding(usable_cores())
    context = Context(model, ContextOptions(n_ctx=2048, n_slots=1, n_batch=512, n_outputs=1, n_threads=threads))
    tokens = Tokenizer(model.vocab).encode(PROMPT, parse_special=False)
    for line in sys.stdin:
        n = int(line)
        context.clear()
        context.add(0, 0, tokens, 1)
        context.decode()
        token, position = int(context.logits(len(tokens) - 1).argmax()), len(tokens)
        batch = api.llama_batch_init(1, 0, 1)
        batch.n_tokens, batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 1, 0, 1
        started = time.perf_counter()
        for _ in range(n):
            batch.token[0], batch.pos[0] = token, position
            api.llama_decode(context.handle, batch)
            token = int(np.ctypeslib.as_array(api.llama_get_logits_ith(context.handle, 0), (model.n_vocab,)).argmax())
            position += 1
        print(json.dumps(n / (time.perf_counter() - started)), flush=True)
        api.llama_batch_free(batch)


def ask(client: EngineClient, model: str, n: int) -> float:
    """Tokens per second of one answer, by the engine's clock."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": n + 1,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    timings: dict[str, float] = {}
    for chunk in client.chat(body):
        timings = chunk.get("timings") or timings
    return timings["predicted_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare(args.model)
        return
    client = EngineClient(engine_process.connect())
    name = client.post("/fireside/register", {"path": str(args.model.resolve())})["name"]
    command = [sys.executable, __file__, str(args.model), "--bare"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        asked, told = child.stdin, child.stdout

        def plain() -> float:
            asked.write(f"{args.tokens}\n")
            asked.flush()
            return float(told.readline())

        turns: dict[str, Callable[[], float]] = {"bare": plain, "fireside": lambda: ask(client, name, args.tokens)}
        rates: dict[str, list[float]] = {key: [] for key in turns}
        for i in range(args.rounds + 1):
            # Who goes first changes, so that neither gains from what the machine does over time.
            for key in sorted(turns, reverse=i % 2 == 1):
                rates[key].append(turns[key]())
            print(f"round {i}: " + ", ".join(f"{key} {values[-1]:.2f}" for key, values in rates.items()), flush=True)
        child.stdin.close()
    # The first round warms caches and kernels.
    kept = {key: values[1:] for key, values in rates.items()}
    medians = {key: statistics.median(values) for key, values in kept.items()}
    pairs = statistics.median(b / a for a, b in zip(kept["bare"], kept["fireside"], strict=True))
    best = max(kept["fireside"]) / max(kept["bare"])
    print(f"medians {medians}")
    print(f"ratio of medians {medians['fireside'] / medians['bare']:.3f}, of pairs {pairs:.3f}, of the best {best:.3f}")


if __name__ == "__main__":
    main()
