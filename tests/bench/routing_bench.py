"""What routing does on real models: exact, tolerances, verification against regeneration, the price of a change.

usage: python tests/bench/routing_bench.py SMALL LARGE [--only exact,alpha,escalate,sticky,remote] [-n 80]

SMALL and LARGE are names of models of this home (FIRESIDE_HOME), whose engine is started and stopped. Nothing of it is
saved, so no answer helps another one. Seconds are those of the engine, which depend on what else the machine does; so
the ways that are compared take turns, prompt by prompt.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from fireside import engine_process
from fireside.client import EngineClient
from fireside_engine import address

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


def alpha(client: EngineClient, small: str, large: str, n: int) -> None:
    """The small model's answer, read by the large one under a growing tolerance."""
    alphas = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    kept: dict[float, list[float]] = {a: [] for a in alphas}
    seconds: dict[float, list[float]] = {a: [] for a in alphas}
    given = 0
    for prompt in PROMPTS:
        for a in alphas:
            found = ask(client, "auto", prompt, n, threshold=1e-6, tolerance=a)
            route = found["route"]
            if not route["escalated"]:
                print(f"alpha {a}: not escalated: {route['reason']}", flush=True)
                continue
            given += 1
            kept[a].append(route["kept_n"] / max(1, route["predicted_n"]))
            seconds[a].append(route["seconds"][large])
    print(f"alpha: {given} answers given; share kept of {small}, seconds of {large} per answer")
    for a in alphas:
        if kept[a]:
            share, took = sum(kept[a]) / len(kept[a]), sum(seconds[a]) / len(seconds[a])
            print(f"  {a:.1f}  {share:6.1%}  {took:6.2f} s", flush=True)


def escalate(client: EngineClient, small: str, large: str, n: int) -> None:
    """A whole small answer, then the large model: by verification, and from zero. The threshold is just below the doubt
    of the answer, so that it is escalated where it is in doubt, and not before."""
    rows = []
    for prompt in PROMPTS:
        doubt = ask(client, "auto", prompt, n, tier=small)["route"]["doubt"]
        threshold = max(1e-6, doubt - 1e-3)
        for tolerance in (0.0, 0.3):
            wanted = {"threshold": threshold, "tolerance": tolerance}
            verified = ask(client, "auto", prompt, n, **wanted)["route"]
            anew = ask(client, "auto", prompt, n, escalate="regenerate", **wanted)["route"]
            if not (verified["escalated"] and anew["escalated"]):
                print(f"  not escalated: {verified['reason']} / {anew['reason']}", flush=True)
                continue
            share = verified["kept_n"] / max(1, verified["given_n"])
            rows.append((tolerance, verified["seconds"][large], anew["seconds"][large], share))
            print(
                f"  tolerance {tolerance}: verified {rows[-1][1]:.2f} s, anew {rows[-1][2]:.2f} s, "
                f"kept {verified['kept_n']} of {verified['given_n']}: {prompt[:40]}",
                flush=True,
            )
    for tolerance in (0.0, 0.3):
        own = [row for row in rows if row[0] == tolerance]
        if own:
            total, anew = sum(row[1] for row in own), sum(row[2] for row in own)
            share = sum(row[3] for row in own) / len(own)
            middle = median(row[1] / row[2] for row in own)
            print(f"escalation, tolerance {tolerance}: {total:.1f} s by verification, {anew:.1f} s anew, median of the")
            print(f"  ratios {middle:.2f}, kept {share:.0%} of the small answers; {small} to {large}", flush=True)


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
    parser.add_argument("--only", default="exact,alpha,escalate,sticky")
    parser.add_argument("-n", type=int, default=80)
    args = parser.parse_args()
    config = Path(address.config_dir()) / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'[auto]\nroster = ["{args.small}", "{args.large}"]\n', encoding="utf-8")
    client = EngineClient(engine_process.connect())
    try:
        for name in (args.small, args.large):
            ask(client, name, "Say hello.", 4)
        wanted = args.only.split(",")
        if "sticky" in wanted:
            sticky(client, args.large, 20)
        if "escalate" in wanted:
            escalate(client, args.small, args.large, args.n)
        if "alpha" in wanted:
            alpha(client, args.small, args.large, args.n)
        if "exact" in wanted:
            exact(client, args.large, args.n)
    finally:
        engine_process.stop()


if __name__ == "__main__":
    main()
