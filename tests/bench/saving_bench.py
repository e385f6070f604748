"""What saving costs a running answer: `python tests/bench/saving_bench.py MODEL.gguf [PROMPT_TOKENS] [ROUNDS]`.

One conversation is decoded in one process, in turns with and without saving; ratios of neighbouring rounds, and their
median. Writing goes to a real directory.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fireside_engine import address
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import Request, SamplingParams, TextPrompt
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.driver import NoCache
from fireside_engine.worker.loading import Ready, load
from fireside_engine.worker.protocol import LoadOptions

ANSWER = 640
"""Tokens: two or three blocks become full on the way."""


def decode(ready: Ready, prompt: int, *, save: bool, seed: int) -> float:
    """Tokens per second from the second token on, everything that the decoding thread does included."""
    keeper = ready.keeper
    assert keeper is not None
    scheduler = Scheduler(ready.rules)
    runner = LlamaRunner(ready.context, ready.state, keeper.keep)
    ready.context.clear()
    request = Request(
        "r", TextPrompt("x"), SamplingParams(temperature=1.0, seed=seed), max_tokens=ANSWER, ignore_eos=True
    )
    sequence = ready.preparer.prepare(request)
    sequence.prompt = np.random.default_rng(seed).integers(300, 5000, prompt).astype(np.int32)
    sequence.limit = ANSWER
    sequence.owner = Owner() if save else None
    scheduler.submit(sequence)
    cache = NoCache()
    began = 0.0
    while step := scheduler.schedule(time.perf_counter()):
        scheduler.commit(step, runner.execute(step))
        for fetch in scheduler.fetches():
            cache.fetch(fetch, lambda payload, n: None)
        if sequence.n_generated == 1 and not began:
            began = time.perf_counter()
    return (ANSWER - 1) / (time.perf_counter() - began)


def main() -> None:
    model = Path(sys.argv[1])
    prompt = int(sys.argv[2]) if len(sys.argv) > 2 else 2048
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        os.environ[address.HOME_VARIABLE] = folder
        ready = load(model, LoadOptions(n_ctx=prompt + ANSWER + 64, n_slots=1), lambda stage, fraction: None)
        keeper = ready.keeper
        assert keeper is not None
        decode(ready, 256, save=True, seed=0)
        ratios = []
        for number in range(rounds):
            order = [True, False] if number % 2 else [False, True]
            rates = {save: decode(ready, prompt, save=save, seed=number + 1) for save in order}
            ratios.append(rates[True] / rates[False])
            print(f"round {number}: {rates[True]:.2f} tok/s saving, {rates[False]:.2f} not; {ratios[-1]:.3f}")
        print(f"{model.stem}, prompt {prompt}, answer {ANSWER}: saving {statistics.median(ratios):.3f} of not saving")
        keeper.close(60)
        kept = sum(path.stat().st_size for path in (address.cache_dir() / "kv").rglob("*") if path.is_file())
        print(f"on disk {kept / 1e6:.1f} MB, {kept / (rounds * (prompt + ANSWER) + 256 + ANSWER):.0f} bytes per token")
        ready.close()


if __name__ == "__main__":
    main()
