"""Microseconds per draw for common parameters and shapes of logits; run by hand: `python tests/bench/sampler_bench.py`.

Shapes: `sure` and `unsure` look like a language model's logits, with one token far ahead or hundreds close together;
`flat` is noise, the worst that a cut by probability can meet.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import Sampler, warm_up

ROUNDS = 300


def shapes(n_vocab: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(7)
    body = random.normal(0, 2.2, n_vocab)
    unsure, sure = body.copy(), body.copy()
    some = random.choice(n_vocab, 400, replace=False)
    unsure[some] = 9 + random.exponential(1.5, some.size)
    sure[some] = 6 + random.exponential(1.5, some.size)
    sure[some[0]] = 22
    return {name: values.astype(np.float32) for name, values in (("sure", sure), ("unsure", unsure), ("flat", body))}


def median_us(call: Callable[[int], object]) -> float:
    for position in range(20):
        call(position)
    taken = []
    for position in range(ROUNDS):
        start = time.perf_counter_ns()
        call(position)
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def main() -> None:
    start = time.perf_counter()
    warm_up()
    print(f"kernels ready after {time.perf_counter() - start:.1f} s")
    everything = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    cases = {
        "greedy": SamplingParams(temperature=0),
        "defaults": SamplingParams(),
        "defaults, repeat 1.1": SamplingParams(repeat_penalty=1.1),
        "temperature only": SamplingParams(**everything),
        "top_p .95 only": SamplingParams(**everything | {"top_p": 0.95}),
        "min_p .05 only": SamplingParams(**everything | {"min_p": 0.05}),
        "top_k 40 only": SamplingParams(**everything | {"top_k": 40}),
        "top_k 5000 only": SamplingParams(**everything | {"top_k": 5000}),
        "top_n_sigma 1 only": SamplingParams(**everything, top_n_sigma=1.0),
    }
    for n_vocab in (151_936, 49_152, 40):
        history = np.random.default_rng(1).integers(0, n_vocab, 2000).astype(np.int32)
        wide = np.full((n_vocab + 31) // 32, 0xFFFFFFFF, np.uint32)
        wide[::3] = 0x0F0F0F0F
        narrow = np.zeros_like(wide)
        narrow[: 1 + wide.size // 100] = 0xFF
        logits = shapes(max(n_vocab, 1000))
        print(f"\n{n_vocab} tokens, microseconds per draw" + "".join(f"{name:>10}" for name in logits))
        masks = {"": None, ", wide mask": wide, ", narrow mask": narrow}
        for (name, params), (suffix, mask) in itertools.product(cases.items(), masks.items()):
            if mask is not None and name not in ("greedy", "defaults", "temperature only"):
                continue
            sampler = Sampler(params, n_vocab)
            row = [
                median_us(lambda position, v=values[:n_vocab], s=sampler, h=history, m=mask: s.draw(v, position, h, m))
                for values in logits.values()
            ]
            print(f"{name + suffix:<35}" + "".join(f"{taken:>10.1f}" for taken in row))
        sampler = Sampler(SamplingParams(logprobs=5), n_vocab)
        row = [median_us(lambda _, v=values[:n_vocab], s=sampler: s.logprobs(v, 3)) for values in logits.values()]
        print(f"{'logprobs 5':<35}" + "".join(f"{taken:>10.1f}" for taken in row))


if __name__ == "__main__":
    main()
