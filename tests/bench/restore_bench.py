"""What a restored prompt costs against a computed one, in a context directly: no disk, no server.

usage: PYTHONPATH=tests python tests/bench/restore_bench.py MODEL.gguf [--kv f16|q8_0|deterministic] [--tokens N ...]

One sequence of random tokens is computed in pieces of 512. At each length everything is cut out and put back into
another slot, five times, and the next token's logits are compared. `computed` is the time from the first token on;
`cut`, `last block`, `restored` and `copied` are medians, with memory that was used before; `first cut` touches new
memory for buffer and rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fireside_engine.core.blocks import BLOCK
from fireside_engine.hardware.cpu import threads_for_decoding, usable_cores
from fireside_engine.llama.model import Model
from fireside_engine.llama.state import StateAccess
from kv_steps import KV, greedy, make_context, prefill, random_tokens, used

REPEAT = 5


def median(action: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    times = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        kept = action()
        times.append(time.perf_counter() - started)
        del kept
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kv", choices=KV, default="f16")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048, 8192])
    options = parser.parse_args()
    lengths = sorted(options.tokens)

    model = Model(options.model)
    threads = threads_for_decoding(usable_cores())
    context = make_context(model, lengths[-1] + BLOCK, options.kv, n_slots=2, n_threads=threads)
    state = StateAccess(context)
    print(f"{options.model.name}, KV {'/'.join(KV[options.kv])}, {threads} threads: {state.memory_class} {state.why}")
    print(f"{state.row_bytes} bytes for each token, checkpoint {state.state_bytes} bytes")
    print(
        "| tokens | rows, MB | computed, ms | first cut | cut | last block | restored | GB/s | copied | times faster |"
    )
    print("| --- " * 10 + "|")

    tokens = random_tokens(model, lengths[-1])
    at, computed, logits = 0, 0.0, np.empty(0, np.float32)
    for n in lengths:
        started = time.perf_counter()
        logits = prefill(context, 0, tokens[:n], at)
        computed, at = computed + (time.perf_counter() - started) * 1e3, n

        state.release()
        started = time.perf_counter()
        rows = used(state.cut(0, 0, n, n))
        first = (time.perf_counter() - started) * 1e3
        checkpoint = state.checkpoint(0)
        whole = median(lambda n=n: (state.cut(0, 0, n, n), state.checkpoint(0)))
        last = median(lambda n=n: state.cut(0, n - BLOCK, n, n))
        restored = median(lambda n=n, r=rows, c=checkpoint: state.restore(1, r, c, n) or exit("not restored"))
        token = int(logits.argmax())
        after = greedy(context, 1, token, n, 2)
        copied = median(lambda n=n: state.copy(0, 1, n) or exit("not copied"))
        if not np.array_equal(greedy(context, 1, token, n, 2), after):
            raise SystemExit(f"the logits after {n} tokens differ between a restored and a copied sequence")
        # The sequence itself goes on last; then it is put back, so that the next length begins where it was.
        if not np.array_equal(greedy(context, 0, token, n, 2), after):
            raise SystemExit(f"the logits after {n} restored tokens differ from those that were computed")
        if not state.restore(0, rows, checkpoint, n):
            raise SystemExit("not restored")
        size = (n * state.row_bytes + len(checkpoint or b"")) / 1e6
        print(
            f"| {n} | {size:.1f} | {computed:.0f} | {first:.1f} | {whole:.1f} | {last:.1f} | {restored:.1f} "
            f"| {size / restored:.1f} | {copied:.1f} | {computed / restored:.0f} |",
            flush=True,
        )
    context.close()
    model.close()


if __name__ == "__main__":
    main()
