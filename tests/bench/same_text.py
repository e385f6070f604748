"""How often the same request gives the same text alone and while three others run. By hand:

    PYTHONPATH=tests python tests/bench/same_text.py MODEL.gguf [--deterministic] [--prompts 20] [-n 48]

With --deterministic every text must be equal; without it a batch may round differently than a single step, and the
share of equal texts is what the engine's numerics give.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from fireside import engine_process
from fireside.client import EngineClient
from fireside_engine import address
from real_engine import LIMIT, RealEngine

PROMPTS = (
    "Why is the sky blue?",
    "Write a haiku about rain.",
    "Name three rivers in Africa.",
    "What is a prime number?",
    "Explain recursion to a child.",
    "Write a Python function that reverses a string.",
    "How do I boil an egg?",
    "Who was Ada Lovelace?",
    "Give me a synonym of happy.",
    "What is the capital of Norway?",
    "Tell a joke about computers.",
    "Translate 'good morning' into French.",
    "What does HTTP stand for?",
    "List the planets of the solar system.",
    "Write an SQL query that counts rows.",
    "Why do cats purr?",
    "What is 17 times 6?",
    "Describe the taste of coffee.",
    "How does a bicycle stay upright?",
    "What is the difference between a list and a tuple?",
)
SEED = 11
OTHERS = 3


class Bench:
    """One model, asked again and again."""

    def __init__(self, client: EngineClient, n: int, *, deterministic: bool) -> None:
        self._client = client
        self._n = n
        self._deterministic = deterministic

    def ask(self, prompt: str, seed: int, n: int | None = None) -> str:
        body = {
            "model": "model",
            "messages": [{"role": "user", "content": prompt}],
            "seed": seed,
            "max_tokens": n or self._n,
            "fireside": {"deterministic": self._deterministic},
        }
        with_text = list(self._client.chat(body))
        return str(with_text[0]["choices"][0]["message"]["content"])

    @contextmanager
    def company(self) -> Iterator[list[int]]:
        """Three others generate all the while; yields how many answers they have had."""
        over = threading.Event()
        answers = [0]

        def keep_asking(number: int) -> None:
            for seed in count(1000 * (number + 1)):
                if over.is_set():
                    return
                # Lengths that differ, so that prompts are read while others decode.
                self.ask(PROMPTS[seed % len(PROMPTS)], seed, self._n + 17 * number)
                answers[0] += 1

        threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(OTHERS)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            over.set()
            for thread in threads:
                thread.join(LIMIT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("-n", type=int, default=48)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ[address.HOME_VARIABLE] = home
        engine = RealEngine(Path(home), model=args.model.resolve())
        try:
            bench = Bench(EngineClient(engine_process.connect()), args.n, deterministic=args.deterministic)
            engine.load("model", deterministic=args.deterministic)
            prompts = PROMPTS[: args.prompts]
            alone = [bench.ask(prompt, SEED) for prompt in prompts]
            with bench.company() as answers:
                together = [bench.ask(prompt, SEED) for prompt in prompts]
            window = engine.worker("model", deterministic=args.deterministic)["info"]["exact_window"]
        finally:
            engine.stop()
    for prompt, one, other in zip(prompts, alone, together, strict=True):
        if one != other:
            same = next((n for n, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1), len(other))
            print(f"  differs after {same} characters of {len(one)}: {prompt}")
    equal = sum(map(str.__eq__, alone, together))
    mode = "deterministic" if args.deterministic else "plain"
    print(f"{args.model.name} {mode}: {equal} of {len(prompts)} equal; window {window}, {answers[0]} other answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
