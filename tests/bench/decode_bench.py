"""Decoding rate of fireside over that of a bare llama_decode loop with the same binding, on the same machine.

usage: python tests/bench/decode_bench.py MODEL.gguf [--rounds 7] [--tokens 64]

Both decode greedily after the same prompt, with the same context, KV type and threads; the bare loop takes the argmax
in numpy and does nothing else. Rounds are interleaved; the ratio is that of the medians. fireside's rate is what its
client sees: tokens after the first over the time between first and last chunk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
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


def ask(client: EngineClient, model: str, n: int) -> tuple[float, float]:
    """(rate by the client's clock, rate by the engine's) of one answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": n + 1,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    first = last = 0.0
    timings: dict[str, float] = {}
    for chunk in client.chat(body):
        now = time.perf_counter()
        choices = chunk.get("choices") or [{}]
        if choices[0].get("delta", {}).get("content"):
            first, last = first or now, now
        timings = chunk.get("timings") or timings
    return n / (last - first), timings["predicted_per_second"]


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
        rates: dict[str, list[float]] = {"bare": [], "fireside": [], "engine": []}
        for i in range(args.rounds + 1):
            child.stdin.write(f"{args.tokens}\n")
            child.stdin.flush()
            plain = float(child.stdout.readline())
            seen, told = ask(client, name, args.tokens)
            if i:  # the first round warms caches and kernels
                for key, value in zip(rates, (plain, seen, told), strict=True):
                    rates[key].append(value)
            print(f"round {i}: bare {plain:.2f}, fireside {seen:.2f}, by its own clock {told:.2f} tokens/s", flush=True)
        child.stdin.close()
    medians = {key: statistics.median(values) for key, values in rates.items()}
    pairs = [b / a for a, b in zip(rates["bare"], rates["fireside"], strict=True)]
    print(
        f"medians {medians}; ratio {medians['fireside'] / medians['bare']:.3f}, of pairs {statistics.median(pairs):.3f}"
    )


if __name__ == "__main__":
    main()
