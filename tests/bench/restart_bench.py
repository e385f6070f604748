"""A conversation after a restart against the same turn computed: `python tests/bench/restart_bench.py MODEL.gguf`.

usage: restart_bench.py MODEL.gguf [--deterministic] [--rounds N] [--words N] [--kv q8_0] [--prose FILE...] [--seed N]

Four turns fill the context; the engine is stopped and started; another prompt loads the model; then the fifth turn is
asked, streamed and greedy. The same again after the KV on disk was deleted. Times are those of a client. Messages are
words at random, which leave a small model undecided between many continuations, or passages of --prose.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from fireside.engine_process import find
from fireside_engine import address
from real_engine import RealEngine

WORDS = (
    "river",
    "stone",
    "lamp",
    "garden",
    "winter",
    "paper",
    "engine",
    "quiet",
    "morning",
    "copper",
    "window",
    "bread",
)
NEW_HOME = 60.0
"""Seconds for a new home to compile its kernels beside the first answers."""


class Answer(NamedTuple):
    text: str
    first: float
    """Seconds from the request to the first text."""
    timings: dict[str, Any]


def ask(messages: list[dict[str, str]], n: int, *, deterministic: bool) -> Answer:
    endpoint = find()
    assert endpoint is not None
    body = {
        "model": "m", "messages": messages, "max_tokens": n, "temperature": 0, "stream": True,
        "fireside": {"deterministic": deterministic, "conversation": "bench"},
    }  # fmt: skip
    url = f"http://127.0.0.1:{endpoint.port}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    began = time.perf_counter()
    first, text, timings = 0.0, "", {}
    with urllib.request.urlopen(request) as lines:
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            timings = chunk.get("timings", timings)
            for choice in chunk["choices"]:
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter() - began
                    text += piece
    return Answer(text, first or time.perf_counter() - began, timings)


def tokens(text: str) -> list[int]:
    endpoint = find()
    assert endpoint is not None
    body = json.dumps({"model": "m", "content": text}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}/tokenize", body)
    with urllib.request.urlopen(request) as answer:
        return list(json.load(answer)["tokens"])


def restart(engine: RealEngine, *, deterministic: bool, forget: bool = False) -> None:
    engine.cli("stop")
    if forget:
        shutil.rmtree(address.cache_dir() / "kv")
    flags = ["--deterministic"] if deterministic else []
    done = engine.cli("run", "-m", "m", "--no-save", "-n", "2", *flags, "hi")
    assert done.code == 0, done


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", type=int, default=1200)
    parser.add_argument("--kv")
    parser.add_argument("--prose", type=Path, nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--answer", type=int, default=24, help="tokens of each answer")
    chosen = parser.parse_args()
    deterministic = chosen.deterministic
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ[address.HOME_VARIABLE] = folder
        (home / "config").mkdir()
        if chosen.kv:
            (home / "config" / "config.toml").write_text(f'[models.m]\nkv_type = "{chosen.kv}"\n')
        engine = RealEngine(home, m=chosen.model.resolve())
        random_ = random.Random(chosen.seed)
        prose = " ".join(path.read_text() for path in chosen.prose).split()

        def say(n: int) -> str:
            start = random_.randrange(max(1, len(prose) - n))
            return " ".join(prose[start : start + n] or random_.choices(WORDS, k=n))

        try:
            restart(engine, deterministic=deterministic)
            time.sleep(NEW_HOME)
            for _ in range(chosen.rounds):
                messages = [{"role": "system", "content": "You are brief. " + say(30)}]
                for _turn in range(4):
                    messages.append({"role": "user", "content": say(chosen.words // 4) + ". What do you think?"})
                    text = ask(messages, chosen.answer, deterministic=deterministic).text
                    messages.append({"role": "assistant", "content": text})
                if deterministic:
                    time.sleep(5)
                messages.append({"role": "user", "content": "Say it in one sentence about " + say(3)})
                restart(engine, deterministic=deterministic)
                warm = ask(messages, 48, deterministic=deterministic)
                restart(engine, deterministic=deterministic, forget=True)
                cold = ask(messages, 48, deterministic=deterministic)
                total = cold.timings["cache_n"] + cold.timings["prompt_n"]
                pairs = zip(tokens(warm.text), tokens(cold.text), strict=False)
                same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
                was = warm.timings["cache_n"] + warm.timings["prompt_n"]
                # Cold, nothing is known of how the answers were generated, and their text may be cut in other tokens.
                recut = "" if was == total else f"; the prompt was {was} tokens as it was generated"
                print(
                    f"{chosen.model.stem}: {total} tokens, {warm.timings['cache_disk_n']} from disk; first text "
                    f"{warm.first * 1e3:.0f} ms against {cold.first * 1e3:.0f} ms ({warm.first / cold.first:.1%}); "
                    f"the same text for {same} of {len(tokens(cold.text))} tokens{recut}"
                )
        finally:
            engine.stop()


if __name__ == "__main__":
    main()
