"""The prompts of `fireside bench --speculation` asked of this engine and of other servers, in turn.

usage: python tests/bench/against_bench.py MODEL.gguf NAME=http://127.0.0.1:PORT … [--rounds 2] [-n 96] [-t 0]
           [--draft MODEL] [--only edit]

MODEL is what this engine loads; each other server (any with an OpenAI API, such as llama-server) has to have the same
file loaded. Rates are a client's: tokens after the first piece of text, by the time from it to the last. Printed is the
median of each server's rounds, for each prompt, and this engine's rate over the best of the others.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from fireside import engine_process, traffic
from fireside.client import EngineClient
from fireside.wire import JsonObject

OURS = "fireside"


def streamed(url: str, body: JsonObject) -> Iterator[JsonObject]:
    """Chunks of a chat completion of another server."""
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/chat/completions",
        json.dumps({**body, "stream_options": {"include_usage": True}}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            text = line.decode().strip()
            if text.startswith("data: ") and text != "data: [DONE]":
                yield json.loads(text[6:])


def rate(chunks: Iterable[JsonObject]) -> tuple[float, int]:
    """Tokens per second after the first text, and the number of tokens."""
    first = last = 0.0
    tokens = 0
    for chunk in chunks:
        if any(choice.get("delta", {}).get("content") for choice in chunk.get("choices") or ()):
            last = time.perf_counter()
            first = first or last
        usage = chunk.get("usage") or {}
        tokens = int(usage.get("completion_tokens") or tokens)
    return ((tokens - 1) / (last - first) if last > first else 0.0), tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("others", nargs="+", metavar="NAME=URL")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-n", type=int, default=96)
    parser.add_argument("-t", type=float, default=0.0)
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--only", action="append", default=[])
    args = parser.parse_args()
    client = EngineClient(engine_process.connect())
    name = client.post("/fireside/register", {"path": str(args.model.resolve())})["name"]
    others = dict(other.split("=", 1) for other in args.others)
    extension: JsonObject = {"save": False, "draft": args.draft}

    def ask(server: str, body: JsonObject) -> tuple[float, int]:
        if server == OURS:
            more = {"model": name, "stream_options": {"include_usage": True}, "fireside": extension}
            return rate(client.chat({**body, **more}))
        return rate(streamed(others[server], body))

    for workload in traffic.built_in():
        if args.only and workload.name not in args.only:
            continue
        body = {**workload.body, "max_tokens": args.n, "temperature": args.t, "seed": 1, "stream": True}
        servers = [OURS, *others]
        rates: dict[str, list[float]] = {server: [] for server in servers}
        counts: dict[str, int] = {}
        for i in range(args.rounds):
            for server in servers[i % len(servers) :] + servers[: i % len(servers)]:
                measured, counts[server] = ask(server, body)
                rates[server].append(measured)
        medians = {server: median(values) for server, values in rates.items()}
        best = max(medians[server] for server in others)
        told = ", ".join(f"{server} {medians[server]:.1f} ({counts[server]})" for server in servers)
        print(f"{workload.name}: {told} tokens/s (tokens); ahead {medians[OURS] / best:.2f}", flush=True)


if __name__ == "__main__":
    main()
