"""Which prompts are taken, which half each one belongs to, and in what order they are asked. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from fireside.proving.items import Item

Half = Literal["chosen", "held"]
"""`chosen`: thresholds are chosen with it; `held`: looked at only afterwards."""


class Placed(NamedTuple):
    item: Item
    half: Half


def place(items: Iterable[Item], limit: int | None, seed: int) -> list[Placed]:
    """At most `limit` prompts, as many of each kind as there are, in two halves, kinds in turn.

    The order within a kind is a hash of seed and id, so that more prompts later change nothing for those before.
    """
    by_kind: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: _rank(item.id, seed)):
        by_kind.setdefault(item.kind, []).append(item)
    found: list[Placed] = []
    depth = max(map(len, by_kind.values()), default=0)
    for at in range(depth):
        # Kinds that have an odd number give their last one to different halves.
        for shift, kind in enumerate(sorted(by_kind)):
            if at < len(by_kind[kind]):
                found.append(Placed(by_kind[kind][at], "chosen" if (at + shift) % 2 == 0 else "held"))
    return found if limit is None else found[:limit]


def half_of(placed: Sequence[Placed], half: Half) -> list[Item]:
    return [item for item, belongs in placed if belongs == half]


def _rank(id_: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{id_}".encode()).digest()
