"""What an answer would cost, in seconds, on this machine now: loading, reading what is not in KV yet, writing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

TYPICAL_ANSWER = 160
"""Tokens of an answer that nobody has written yet, where the request sets no lower limit."""
DISK_SHARE = 0.1
"""Reading KV from disk costs this share of computing it, until something better is known. Measured: 2,048 tokens came
back in 10 ms where computing took 20 s; a slow disk and hashing are allowed for."""
_FASTER, _SLOWER = 0.5, 0.2
"""Weights of one measurement: whatever else runs only ever makes an answer slower."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a tier is here."""

    read: float
    """Tokens of a prompt in a second."""
    write: float
    """Tokens of an answer in a second."""
    load: float
    """Seconds of a load."""
    n: int = 0
    """Answers that were measured."""

    def learn(self, read: float | None, write: float | None, load: float | None) -> Rates:
        """With what an answer measured; None where it tells nothing."""
        made = replace(self, n=self.n + 1)
        if read is not None:
            made = replace(made, read=_blend(self.read, read, first=not self.n))
        if write is not None:
            made = replace(made, write=_blend(self.write, write, first=not self.n))
        return made if load is None else replace(made, load=0.5 * self.load + 0.5 * load)


@dataclass(frozen=True, slots=True)
class Known:
    """What of a prompt a tier has in KV. Tokens."""

    n: int
    """Of the whole prompt."""
    ram: int = 0
    disk: int = 0
    """Beyond those in memory."""
    loaded: bool = True


@dataclass(frozen=True, slots=True)
class Price:
    prefill_n: int
    """Tokens to compute."""
    prefill_s: float
    load_s: float
    decode_s: float
    cached_n: int = 0
    guess: bool = False
    """Nothing of its tier was measured yet."""

    @property
    def begin_s(self) -> float:
        """Until it can write."""
        return self.prefill_s + self.load_s

    @property
    def total_s(self) -> float:
        return self.begin_s + self.decode_s

    def to_dict(self) -> dict[str, Any]:
        return {
            "prefill_n": self.prefill_n,
            "prefill_s": round(self.prefill_s, 3),
            "load_s": round(self.load_s, 3),
            "decode_s": round(self.decode_s, 3),
            "cached_n": self.cached_n,
        }


def price(rates: Rates, known: Known, n_answer: int) -> Price:
    missing = max(1, known.n - known.ram - known.disk)
    read = max(0, min(known.disk, known.n - known.ram - missing))
    seconds = (missing + DISK_SHARE * read) / max(rates.read, 1e-6)
    return Price(
        prefill_n=missing,
        prefill_s=seconds,
        load_s=0.0 if known.loaded else rates.load,
        decode_s=n_answer / max(rates.write, 1e-6),
        cached_n=known.n - missing,
        guess=rates.n == 0,
    )


def answer_length(limit: int | None, seen: Sequence[int] = ()) -> int:
    """Tokens to expect: what answers had of late, or a usual one, and never more than the limit."""
    usual = sorted(seen)[len(seen) // 2] if seen else TYPICAL_ANSWER
    return max(1, usual if limit is None else min(limit, usual))


def first_rates(size: int, step_ms: float = 0.0, *, bandwidth: float = 12e9) -> Rates:
    """Of a model of so many bytes that has not answered yet. step_ms: what its probe measured."""
    step = step_ms / 1e3 if step_ms > 0 else max(size / bandwidth, 1e-4)
    return Rates(read=2.5 / step, write=1.0 / step, load=1.5 + size / 1e9)


def _blend(before: float, now: float, *, first: bool) -> float:
    weight = 1.0 if first else _FASTER if now > before else _SLOWER
    return before + weight * (now - before)
