"""Requests made to hurt, one kind after the other, beside a running chat: their status and time, the chat's speed.
Names that are paths are tried on every route by tests/contract/test_server_paths.py.

usage: python tests/bench/hostile_bench.py MODEL.gguf [--seconds 4]
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from live import Live, Stream, chat

from hostile import BODIES, mutants


def attacks(model: str) -> dict[str, tuple[str, bytes, dict[str, str]]]:
    def asked(**fields: object) -> bytes:
        return json.dumps(chat(model, "hi", max_tokens=4, **fields)).encode()

    def schema(source: object) -> bytes:
        return asked(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": source}})

    deep: object = {"type": "string"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    path = "/v1/chat/completions"
    bodies = {
        "60,000 parentheses, grammar": asked(grammar="root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000),
        "60,000 parentheses, regex": asked(fireside={"regex": "(" * 60_000 + "a" + ")" * 60_000}),
        "100,000 rules": asked(grammar="root ::= a0\n" + "".join(f'a{i} ::= "x" a{i + 1}\n' for i in range(10**5))),
        "repetition of repetitions": asked(grammar='root ::= (("a"{0,9999}){0,9999}){0,9999}'),
        "regex (a+)+$ ": asked(fireside={"regex": "(a+)+(a+)+(a+)+$"}),
        "regex with huge counts": asked(fireside={"regex": "((a{1,5000}){1,5000}){1,5000}"}),
        "schema pattern": schema({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}),
        "schema 60 deep": schema(deep),
        "schema of 50,000 properties": schema(
            {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(50_000)}}
        ),
        "schema that is itself": schema({"$ref": "#"}),
        "JSON 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
        "1 MB of invalid UTF-8": b"\xff\xfe\x80" * 350_000,
        "a lone surrogate": b'{"model":"' + model.encode() + b'","messages":[{"role":"user","content":"\\ud800"}]}',
        "prompt of 8 MB": json.dumps(chat(model, "word " * 1_600_000)).encode(),
        "40 MB": b" " * (40 << 20),
        "100,000 messages": json.dumps(
            {"model": model, "messages": [{"role": "user", "content": "x"}] * 100_000}
        ).encode(),
        "template arguments, deep": asked(chat_template_kwargs={"a": json.loads("[" * 150 + "]" * 150)}),
        "control tokens in text": asked(stop=["<|im_end|>" * 90] * 32),
    }
    found: dict[str, tuple[str, bytes, dict[str, str]]] = {name: (path, body, {}) for name, body in bodies.items()}
    bomb = gzip.compress(b" " * (100 << 20))
    found["gzip bomb, 100 MiB"] = (path, bomb, {"Content-Encoding": "gzip"})
    found["headers of 100 KB"] = (path, asked(), {"X-Long": "x" * 100_000})
    for name in ("../../etc/passwd", "a\0b"):
        body = json.dumps({**chat(name, "hi"), "name": name}).encode()
        found[f"model {name[:20]!r}"] = (path, body, {})
        found[f"show {name[:20]!r}"] = ("/api/show", body, {})
        found[f"embed {name[:20]!r}"] = ("/v1/embeddings", json.dumps({"model": name, "input": "x"}).encode(), {})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--every", type=float, default=0.5, help="seconds from one request to the next")
    parser.add_argument("--stride", type=int, default=7, help="every so many of the bodies with a wrong member")
    args = parser.parse_args()
    live = Live.connect(args.model)
    live.post("/v1/chat/completions", chat(live.model, "hi", max_tokens=2))
    before = live.use()
    beside = Stream(live, chat(live.model, "Tell a long story.", max_tokens=100_000), {"User-Agent": "neighbour"})
    beside.start()
    while len(beside.times) < 8:
        time.sleep(0.05)

    def quiet() -> float:
        began = time.perf_counter()
        time.sleep(args.seconds)
        return beside.rate(began, time.perf_counter())

    worst_time, worst_share, bad = 0.0, 1.0, 0

    def measured(name: str, attack: Callable[[], tuple[int, float]]) -> None:
        nonlocal worst_time, worst_share, bad
        base = quiet()
        began, statuses, slowest = time.perf_counter(), [], 0.0
        while time.perf_counter() - began < args.seconds:
            status, seconds = attack()
            statuses.append(status)
            slowest = max(slowest, seconds)
            time.sleep(max(0.0, args.every - seconds))
        share = beside.rate(began, time.perf_counter()) / max(base, 1e-9)
        worst_time, worst_share = max(worst_time, slowest), min(worst_share, share)
        bad += sum(status >= 500 for status in statuses)
        print(f"{name:40} {sorted(set(statuses))} x{len(statuses)}, slowest {slowest:.2f} s, neighbour {share:.0%}")

    for name, (path, body, headers) in attacks(live.model).items():

        def once(path: str = path, body: bytes = body, headers: dict[str, str] = headers) -> tuple[int, float]:
            try:
                status, _, seconds = live.post(path, body, headers)
            except (ConnectionError, BrokenPipeError):
                return 0, 0.0
            return status, seconds

        measured(name, once)
    for path, body in BODIES.items():
        wrong = [mutant for _, mutant in list(mutants({**body, "model": live.model}))[:: args.stride]]
        turns = iter(wrong * 1000)

        def wrongly(path: str = path, turns: object = turns) -> tuple[int, float]:
            status, _, seconds = live.post(path, next(turns))  # type: ignore[call-overload]
            return status, seconds

        measured(f"wrong members, {path}", wrongly)
    print(f"worst: {worst_time:.2f} s, neighbour {worst_share:.0%}, {bad} answers of 5xx")
    print(f"MiB, threads, descriptors before {before}, after {live.use()}, crashed: {beside.error or 'no'}")


if __name__ == "__main__":
    main()
