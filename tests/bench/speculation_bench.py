"""What drafts gain on several models, alone and while another process uses a core.

usage: python tests/bench/speculation_bench.py MODEL.gguf [MODEL.gguf …] [--rounds 3] [-n 160] [--busy] [-t 0]
           [--deterministic] [--draft MODEL] [--only edit]

Every model answers the built-in prompts of `fireside bench --speculation`, with drafts and without, in turn; printed is
the median of the ratios of single rounds, for each prompt, and the lowest of all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Another process computes all the while."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**5))"]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", default="3")
    parser.add_argument("-n", default="160")
    parser.add_argument("-t", default="0")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--draft")
    parser.add_argument("--only", action="append", default=[])
    args = parser.parse_args()
    command = [sys.executable, "-m", "fireside", "bench", "--speculation", "--json"]
    command += ["--rounds", args.rounds, "-n", args.n, "-t", args.t]
    command += ["--deterministic"] if args.deterministic else []
    command += ["--draft", args.draft] if args.draft else []
    command += [word for name in args.only for word in ("--only", name)]
    lowest = []
    for model in args.models:
        with busy(args.busy):
            done = subprocess.run([*command, str(model)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        told = json.loads(done.stdout)
        machine = told["machine"]
        print(f"{model.name}: {told['prompts'][0]['speculation']}; ceiling {machine['ceiling']:.2f}")
        for result in told["prompts"]:
            lowest.append(result["ratio"])
            rates = f"plain {result['plain']:.1f}, drafts {result['drafts']:.1f} tokens/s"
            accepted = f"{result['draft_n_accepted']} of {result['draft_n']} accepted"
            same = f"{result['same']} of {result['rounds']} texts the same"
            print(
                f"  {result['name']}: {result['ratio']:.2f} {result['ratios']} ({rates}; {accepted}; {same})",
                flush=True,
            )
    print(f"lowest ratio {min(lowest):.2f}")


if __name__ == "__main__":
    main()
