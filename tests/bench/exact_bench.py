"""Whether drafts leave every byte of every text as it is with `deterministic`. By hand:

    PYTHONPATH=tests python tests/bench/exact_bench.py MODEL.gguf [--draft MODEL.gguf] [-n 200] [--together]

Each request is decoded plainly, alone; then again with drafts, forced to happen at every step and often wrong, by each
source, and with other requests in the same batches. Texts and log probabilities are compared byte for byte. Printed is
how many drafted tokens were accepted and refused. Ends with 1 where anything differs, or where nothing was refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams, TextPrompt
from fireside_engine.worker import kernels
from forced_drafts import Forced

CODE = "def alpha(x):\n    return x + 1\n\ndef beta(x):\n    return x * 2\n\ndef gamma(x):\n    return x - 3\n"
COPY = ChatPrompt((Message("user", f"Write this again, twice, with y for x:\n```python\n{CODE}```\n"),))
STORY = ChatPrompt((Message("user", "Tell a story about a lighthouse keeper and a storm."),))
LOOP = TextPrompt("One fish, two fish, red fish, blue fish. One fish, two fish, red fish, blue fish. One fish,")
PEOPLE = ChatPrompt((Message("user", "Make up three people and describe them as JSON."),))
SCHEMA = """{"type": "object", "properties": {"people": {"type": "array", "minItems": 3, "items": {"type": "object",
 "properties": {"name": {"type": "string", "maxLength": 30}, "age": {"type": "integer", "maximum": 99},
 "mail": {"type": "string", "maxLength": 30}, "city": {"type": "string", "maxLength": 30}},
 "required": ["name", "age", "mail", "city"], "additionalProperties": false}}}, "required": ["people"],
 "additionalProperties": false}"""
GREEDY = SamplingParams(temperature=0)
WARM = SamplingParams(temperature=0.8, seed=7)
PENALTIES = SamplingParams(temperature=0.8, seed=8, repeat_penalty=1.1, frequency_penalty=0.3, presence_penalty=0.2)
JSON = Constraint("json_schema", SCHEMA)


def requests(n: int) -> list[Request]:
    """Named for what they are about."""

    def ask(name: str, prompt: Any, params: SamplingParams, **more: Any) -> Request:
        return Request(name, prompt, params, max_tokens=n, **more)

    return [
        ask("copy, greedy", COPY, GREEDY),
        ask("copy, 0.8", COPY, WARM),
        ask("story, greedy", STORY, GREEDY),
        ask("story, 0.8", STORY, WARM),
        ask("loop, penalties", LOOP, PENALTIES),
        ask("loop, greedy, log probabilities", LOOP, replace(GREEDY, logprobs=3)),
        ask("copy, 0.8, log probabilities", COPY, replace(WARM, logprobs=2)),
        ask("copy, greedy, stop", COPY, GREEDY, stop=("y - 3", "gamma(x)", "x - 3")),
        ask("schema, greedy", PEOPLE, GREEDY, constraint=JSON),
        ask("schema, 0.8", PEOPLE, WARM, constraint=JSON),
        ask("schema, 0.8, log probabilities", PEOPLE, replace(WARM, logprobs=1), constraint=JSON),
    ]


class Proof:
    """Collects what differs, and what was drafted."""

    def __init__(self, plain: Mapping[str, tuple[str, Any]]) -> None:
        self._plain = plain
        self.differing: list[str] = []
        self.drafted: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def compare(self, how: str, found: Mapping[str, tuple[str, Any]]) -> None:
        drafted: Counter[str] = Counter()
        accepted: Counter[str] = Counter()
        for name, (text, timings) in found.items():
            if text != self._plain[name][0]:
                self.differing.append(f"{how}: {name}")
            for source, n, hits in timings.draft_sources:
                drafted[source] += n
                accepted[source] += hits
        same = sum(text == self._plain[name][0] for name, (text, _) in found.items())
        mix = ", ".join(f"{s} {accepted[s]} accepted {n - accepted[s]} refused" for s, n in sorted(drafted.items()))
        print(f"  {how}: {same} of {len(found)} the same; {mix}", flush=True)
        self.drafted += drafted
        self.accepted += accepted


def each_alone(model: Forced, wanted: Sequence[Request]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for request in wanted:
        found |= model.answers([request])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--only", action="append", default=[], help="requests whose name begins so")
    parser.add_argument("--together", action="store_true", help="only all requests in the same batches")
    args = parser.parse_args()
    # As in workers: threads that spin while others compute cost most of the time (server/environment.py).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "fireside-bench-kernels"))
    kernels.use_own_cache()
    kernels.warm_up()
    wanted = [r for r in requests(args.n) if not args.only or r.id.startswith(tuple(args.only))]
    with tempfile.TemporaryDirectory() as home:
        model = Forced(args.model, Path(home), draft=args.draft, n_ctx=1024, n_slots=3)
        info = model.ready.info
        print(f"{args.model.name}: KV {info.kv_type}, window {info.exact_window}; {info.speculation}", flush=True)
        plain = each_alone(model, [replace(request, speculate=False) for request in wanted])
        print(f"  plain: {sum(t.predicted_n for _, t in plain.values())} tokens of {len(plain)} requests", flush=True)
        proof = Proof(plain)
        if not args.together:
            model.model_drafts = False
            proof.compare("lookups and grammar", each_alone(model, wanted))
            model.lies = True
            proof.compare("the same, every fifth draft wrong", each_alone(model, wanted))
        if args.draft and not args.together:
            model.model_drafts, model.lies = True, False
            proof.compare("with the draft model", each_alone(model, wanted))
            model.lies = True
            proof.compare("the same, every fifth draft wrong", each_alone(model, wanted))
        model.model_drafts = model.lies = True
        proof.compare("all requests together, every fifth draft wrong", model.answers(wanted))
        model.ready.close()
    for words in proof.differing:
        print(f"  DIFFERS: {words}")
    for source in sorted(proof.drafted):
        if not 0 < proof.accepted[source] < proof.drafted[source]:
            print(f"  {source}: nothing was {'refused' if proof.accepted[source] else 'accepted'}")
    return 1 if proof.differing else 0


if __name__ == "__main__":
    sys.exit(main())
