"""When a model does not fit: what is missing, and the smallest changes that would make it fit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fireside_engine.core.choice import Row, assess
from fireside_engine.core.fit import Candidate, Wish, plan_for, target_context
from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import GIB, Machine, Shortage
from fireside_engine.core.placement import Costs
from fireside_engine.core.speed import Book

MOST_CHANGES = 3
_LENGTHS = (65536, 32768, 16384, 8192, 4096, 2048, 1024)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model is not loaded."""

    need: int
    free: int
    """Of what is short: bytes that it may have."""
    pool: str
    changes: tuple[str, ...]
    """Up to three, the cheapest first, in words."""

    @property
    def missing(self) -> int:
        return self.need - self.free


def refuse(
    row: Row,
    others: Sequence[Candidate],
    machine: Machine,
    wish: Wish,
    costs: Costs,
    book: Book,
    overhead: int = 0,
) -> Refusal:
    """row: of a candidate without a plan; others: further quantizations of the same model."""
    short: Shortage = max(row.short, key=lambda shortage: shortage.missing)
    changes: list[str] = []

    def fits(changed: Wish) -> bool:
        return plan_for(row.candidate, machine, changed, costs, book, overhead) is not None

    if wish.n_slots and wish.n_slots > 1 and fits(replace(wish, n_slots=1)):
        changes.append("one slot instead of " + str(wish.n_slots))
    if wish.kv_type != "q8_0" and not wish.deterministic and fits(replace(wish, kv_type="q8_0")):
        changes.append("KV in q8_0")
    wanted = target_context(row.candidate.shape, wish)
    lengths = [n for n in _LENGTHS if n < wanted]
    length = next((n for n in lengths if fits(replace(wish, n_ctx=n))), None)
    if wish.n_ctx and length is not None:
        changes.append(f"a context of {length:,} tokens instead of {wanted:,}")
    smaller = [other for other in others if other.shape.weights < row.candidate.shape.weights]
    for other in sorted(smaller, key=lambda other: other.quality.kld):
        if assess(other, machine, wish, costs, book, overhead).plan is not None:
            where = "" if other.available else ", which is not on this machine yet"
            changes.append(f"{other.quant} instead of {row.candidate.quant}{where}")
            break
    place = "main memory" if short.pool == HOST else short.pool
    pool = machine.pool(short.pool)
    if pool.total - pool.keep >= short.need:
        changes.append(f"{gib(short.missing)} more free in {place}: close other programs or unload models")
    if not changes:
        changes.append("a smaller model, or a smaller quantization of this one")
    return Refusal(short.need, short.budget, short.pool, tuple(changes[:MOST_CHANGES]))


def gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{max(1, round(count / 1024**2))} MiB"
