"""A process that puts, reads, sweeps and forgets until somebody kills it.

usage: kv_process.py DIRECTORY SEED BUDGET

Writes a line for each round, "wrong …" where it read something that was never put, and dies of anything that raises.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.store import Store
from fireside_engine.kv_cache.writer import Writer
from kv_faults import ANN, BOB, OTHER_ROOT, ROOT, check, rows_of, state_of

SIZE = 20_000


def prompt(rng: random.Random) -> list[int]:
    """Few beginnings and many ends, so that processes meet."""
    first, second = rng.randrange(3), rng.randrange(6)
    tokens = [first * 5000 + position for position in range(rng.choice((256, 512, 600)))]
    return tokens + [second * 7000 + position for position in range(rng.randrange(1, 700))]


def main(directory: str, seed: str, budget: str) -> None:
    rng = random.Random(int(seed))
    store = Store(Path(directory), budget=int(budget))
    writer = Writer(store)
    for number in range(1_000_000):
        root, owner = rng.choice((ROOT, ROOT, OTHER_ROOT)), rng.choice((ANN, BOB))
        tokens = prompt(rng)
        action = rng.random()
        if action < 0.55:
            writer.submit(rows_of(tokens, root=root, owner=owner, size=SIZE))
            writer.submit([state_of(tokens, root=root, owner=owner, size=SIZE)])
            if rng.random() < 0.3:
                writer.flush(5)
        elif action < 0.95:
            found = store.lookup(root, tokens)
            try:
                n = check(store, found, tokens, size=SIZE)
            except AssertionError as error:
                print(f"wrong content: {error}", flush=True)
                return
            writer.used(found, n, owner)
        elif action < 0.97:
            store.sweep()
        else:
            try:
                store.forget(owner) if action < 0.98 else upkeep.prune(store, int(budget) // 2)
            except Unavailable:
                continue
        if number % 5 == 0:
            print(f"round {number}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
