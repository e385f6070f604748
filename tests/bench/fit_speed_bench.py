"""Predicted tokens a second against real answers, for three quantizations of one model.

usage: PYTHONPATH=tests python tests/bench/fit_speed_bench.py MODEL.gguf

Each file is benched once by `models measure`; the predictions are read before the answers are timed, which have no
drafts. In a home of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from fireside_engine import address
from real_engine import RealEngine

QUANTS = "Q8_0,Q4_0"
NEAR = "100"
"""Tokens of a conversation, about as many as the answers have."""


def data(engine: RealEngine, *words: str) -> Any:
    done = engine.cli(*words, "--json")
    if done.code != 0:
        raise SystemExit(done.err)
    return done.json


def rate_of(engine: RealEngine, name: str) -> float:
    """Tokens a second, the median of three answers."""
    ask = ("run", "-m", name, "-n", "48", "--draft", "off")
    answers = [data(engine, *ask, "--seed", str(seed), "Tell a long story.") for seed in range(3)]
    return float(sorted(answer["timings"]["predicted_per_second"] for answer in answers)[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ[address.HOME_VARIABLE] = home
        engine = RealEngine(Path(home), **{args.model.stem: args.model.resolve()})
        try:
            name = args.model.stem
            before = rate_of(engine, name)
            while abs((after := rate_of(engine, name)) / before - 1) > 0.1:
                # In a new home kernels are compiled beside the first answers.
                before = after
            engine.cli("stop", name)
            made = data(engine, "models", "quantize", name, "--to", QUANTS)["made"]
            data(engine, "models", "measure", name, "--tokens", "128")
            rows = {row["name"]: row for row in data(engine, "models", "fit", name)["models"][0]["rows"]}
            errors = []
            for one in (name, *(one["name"] for one in made)):
                said, real = rows[one]["plan"]["speeds"][NEAR], rate_of(engine, one)
                errors.append(abs(said / real - 1))
                print(f"{one}: predicted {said:.1f}, real {real:.1f} tokens/s, off by {errors[-1]:.0%}", flush=True)
                engine.cli("stop", one)
            print(f"median {sorted(errors)[len(errors) // 2]:.0%}")
        finally:
            engine.stop()


if __name__ == "__main__":
    main()
