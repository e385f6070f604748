"""What routing does on real models: exact, tolerances, verification against regeneration, the price of a change.

usage: python tests/bench/routing_bench.py SMALL LARGE [--only verify,sticky,exact] [-n 80]

SMALL and LARGE are names of models of this home (FIRESIDE_HOME), whose engine is started and stopped. Nothing of it is
saved, so no answer helps another one. Seconds are those of the engine, which depend on what else the machine does; so
the ways that are compared take turns, prompt by prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from fireside import engine_process
from fireside.client import EngineClient
from fireside_engine import address
from fireside_engine.core.events import Delta, Failed, Finished, FinishReason
from fireside_engine.core.request import ChatPrompt, Message, Request, SamplingParams
from fireside_engine.models.catalogue import Entry, default_catalogue
from fireside_engine.server.engine import Engine
from fireside_engine.server.settings import Settings

ALPHAS = (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)
PROMPTS = (
    "Write a Python function that returns the n-th Fibonacci number iteratively.",
    "Explain in three sentences what a hash table is.",
    "Rewrite politely: Send me the report now, I have been waiting for days.",
    "Extract all dates from: The fair opened on 3 May 2021, moved on 12 June and closed on 1 July 2021.",
    "A shop sells pens at 3 for 2 euros. How much do 18 pens cost? Explain briefly.",
    "Write a SQL query that lists the ten customers with the most orders.",
    "Write a shell command that finds all files above 100 MB below the current folder.",
    "Summarize in one sentence: Trees store carbon, cool cities and hold soil, but need decades to grow.",
)


def ask(client: EngineClient, model: str, prompt: str | list[Any], n: int, t: float = 0.0, **route: Any) -> Any:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    body = {
        "model": model,
        "messages": messages,
        "temperature": t,
        "seed": 7,
        "max_tokens": n,
        "stream": False,
        "fireside": {"save": False, **({"route": route} if route else {})},
    }
    began = time.monotonic()
    (answer,) = client.chat(body)
    answer["seconds"] = time.monotonic() - began
    answer["text"] = answer["choices"][0]["message"]["content"]
    answer["route"] = answer["timings"].get("route") or {}
    return answer


def exact(client: EngineClient, large: str, n: int) -> None:
    """The text of `exact` is that of the large model, greedy and sampled, with the same seed."""
    for t in (0.0, 0.8):
        same = [
            ask(client, "auto", prompt, n, t, mode="exact")["text"] == ask(client, large, prompt, n, t)["text"]
            for prompt in PROMPTS
        ]
        print(f"exact, temperature {t}: {sum(same)} of {len(same)} texts equal those of {large}", flush=True)


async def answered(engine: Engine, entry: Entry, prompt: str, n: int, **given: Any) -> tuple[str, Finished]:
    """One model's answer, asked of the engine inside this process."""
    sampling = SamplingParams(temperature=0.0, seed=7)
    chat = ChatPrompt((Message("user", prompt),))
    request = Request(f"r{time.monotonic_ns()}", chat, sampling, max_tokens=n, save=False, **given)
    texts: list[str] = []
    async with engine.generate(entry, [request], tenant="") as generation:
        while True:
            match await generation.get():
                case Delta(text=text):
                    texts.append(text)
                case Failed(error=error):
                    raise SystemExit(str(error))
                case Finished() as end:
                    return "".join(texts), end


async def verify(small: str, large: str, n: int) -> None:
    """Whole answers of the small model, given to the large one under a growing tolerance, against its own from zero.
    Both read the prompt before; what is told is the time from there on."""
    engine = Engine(default_catalogue(), Settings())
    little, big = (engine.catalogue.resolve(name) for name in (small, large))
    rows: dict[float, list[tuple[float, float, int, int, int, float]]] = {}
    try:
        for prompt in PROMPTS:
            text, first = await answered(engine, little, prompt, n)
            ended = first.reason is FinishReason.STOP
            await answered(engine, big, prompt, 2)
            own, anew = await answered(engine, big, prompt, n)
            for tolerance in ALPHAS:
                given = {"proposed": text, "proposed_ended": ended, "tolerance": tolerance}
                made, end = await answered(engine, big, prompt, n, **given)
                if tolerance == 0.0 and made != own:
                    print(f"  another text than alone, by rounding: {prompt[:40]}", flush=True)
                took, alone, t = seconds_of(end), seconds_of(anew), end.timings
                likeness = SequenceMatcher(None, own, made).ratio()
                counts = (t.kept_n, first.timings.predicted_n, t.predicted_n, likeness)
                rows.setdefault(tolerance, []).append((took, alone, *counts))
            _, again = await answered(engine, big, prompt, n)
            print(f"  {prompt[:40]}: alone {seconds_of(anew):.2f} and {seconds_of(again):.2f} s, given", end=" ")
            print(", ".join(f"{a}: {found[-1][0]:.2f} s" for a, found in rows.items()), flush=True)
    finally:
        await engine.supervisor.close(now=False)
    print(f"{len(PROMPTS)} answers of {small}, read and continued by {large}, at most {n} tokens")
    print("tolerance  kept of the small answer  seconds  seconds from zero  ratio  likeness to the large model's own")
    for a, found in rows.items():
        took, alone = (sum(row[i] for row in found) for i in (0, 1))
        kept = sum(row[2] for row in found) / sum(row[3] for row in found)
        likeness = sum(row[5] for row in found) / len(found)
        print(f"{a:9.1f}  {kept:24.0%}  {took:7.1f}  {alone:17.1f}  {took / alone:5.2f}  {likeness:.2f}")


def seconds_of(end: Finished) -> float:
    """Reading the prompt, which is in KV but for its last piece, and writing."""
    return (end.timings.prompt_ms + end.timings.predicted_ms) / 1e3


def sticky(client: EngineClient, large: str, n: int) -> None:
    """A conversation of 2,000 tokens that the large model has in KV."""
    story = " ".join(f"Entry {i}: the river rose by {i % 7} cm and the mill stood still." for i in range(105))
    messages: list[Any] = [{"role": "user", "content": f"{story}\n\nHow many entries are there?"}]
    first = ask(client, "auto", messages, 12, tier=large)
    messages += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "And the last one?"}]
    second = ask(client, "auto", messages, n)
    told = first["timings"]
    print(f"sticky: first turn at {large}: {told['prompt_n'] + told['cache_n']} tokens of prompt")
    print(f"  second turn: {second['route']['reason']}")
    print(f"  prices: {second['route']['price']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("small")
    parser.add_argument("large")
    parser.add_argument("--only", default="verify,sticky,exact")
    parser.add_argument("-n", type=int, default=80)
    args = parser.parse_args()
    config = Path(address.config_dir()) / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'[auto]\nroster = ["{args.small}", "{args.large}"]\n', encoding="utf-8")
    wanted = args.only.split(",")
    if "verify" in wanted:
        asyncio.run(verify(args.small, args.large, args.n))
    if not {"exact", "sticky"} & {*wanted}:
        return
    client = EngineClient(engine_process.connect())
    try:
        for name in (args.small, args.large):
            ask(client, name, "Say hello.", 4)
        if "sticky" in wanted:
            sticky(client, args.large, 20)
        if "exact" in wanted:
            exact(client, args.large, args.n)
    finally:
        engine_process.stop()


if __name__ == "__main__":
    main()
