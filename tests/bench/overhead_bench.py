"""Python's own time for a decoded token: scheduling, drawing, committing, and writing the event. No model.

usage: python tests/bench/overhead_bench.py [--vocabulary 152000]

The budget is 2 % of a decode step of a 1.5B model; such a step takes 30 to 70 ms on two cores, so 0.6 ms.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from fireside_engine.core import sampling
from fireside_engine.core.request import SamplingParams
from fireside_engine.core.rules import Rules
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Drawn, Result
from fireside_engine.worker.protocol import Happened, encode_reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=152_000)
    n_vocab = parser.parse_args().vocabulary
    sampling.warm_up()
    logits = np.random.default_rng(0).normal(0, 3, n_vocab).astype(np.float32)
    for n_slots in (1, 4):
        scheduler = Scheduler(Rules(n_slots, 4096, 512, n_slots))
        for i in range(n_slots):
            sampler = sampling.Sampler(SamplingParams(seed=i), n_vocab)

            class Drawer:
                def __init__(self, sampler: sampling.Sampler) -> None:
                    self.sampler = sampler

                def draw(self, _logits: object, position: int, history: object, _remaining: int) -> Drawn:
                    return Drawn(self.sampler.draw(logits, position, history))

            prompt = np.arange(1, 100, dtype=np.int32)
            scheduler.submit(Sequence(f"r{i}", prompt, Drawer(sampler), lambda token: b"word ", frozenset(), 2000))
        n, drawing, started = 0, 0.0, time.perf_counter()
        while (step := scheduler.schedule(0.0)) is not None:
            before = time.perf_counter()
            drawn = tuple(
                (c.slot, c.draw.drawer.draw(logits, len(c.draw.history), c.draw.history, c.draw.remaining))
                for c in step.chunks
                if c.draw
            )
            drawing += time.perf_counter() - before
            for event in scheduler.commit(step, Result(drawn, 0.0, 0.01)):
                encode_reply(Happened(event))
            n += len(drawn)
        total = time.perf_counter() - started
        print(f"{n_slots} slots: {total / n * 1e6:.0f} us a token, of it {drawing / n * 1e6:.0f} us drawing")


if __name__ == "__main__":
    main()
