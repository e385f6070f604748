"""The arithmetic that decides a draw, written so that every machine computes the same bits.

The token at a position is a function of logits, parameters, seed and position alone, so neither the machine nor the
maths library that numba or numpy chose may show in it. Therefore noise comes from integer mixing, and logarithm and
exponential are series made of +, -, * and / on float64 in a fixed order: IEEE 754 rounds these alike everywhere, where
the `log` and `exp` of two libraries differ in the last bit. Probabilities are integers (see `weight`): their sums do
not depend on the order of adding, so a scan, a sort and a histogram reach the same cut.

Functions without branches serve twice: on arrays here, compiled for single values in `kernels`.
"""

from __future__ import annotations

import math
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Words = TypeVar("Words", U64, np.uint64)
Reals = TypeVar("Reals", F64, float)

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd: consecutive tokens land far apart."""
STRIDE: Final = np.uint64(0xD1342543DE82EF95)
"""Another odd constant, for positions, so that a position is not a shift of the tokens."""

_30, _27, _31, _12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_ONE = np.uint64(1)
_MUL_A = np.uint64(0xBF58476D1CE4E5B9)
_MUL_B = np.uint64(0x94D049BB133111EB)

HASH_BITS: Final = 52
"""One less than a float64's significand, so that the middle of each of the 2^52 cells of (0, 1) is a float64."""
CELL: Final = 1.0 / (1 << HASH_BITS)
LN2: Final = 0.6931471805599453
LOG2E: Final = 1.4426950408889634
SQRT_HALF: Final = 0.7071067811865476
WEIGHT_BITS: Final = 42
"""The largest token weighs about 2^42: two million tokens cannot overflow an int64, and what rounding loses of a
262k vocabulary is below 1e-7 of the whole."""
WEIGHT_ONE: Final = float(1 << WEIGHT_BITS)
WEIGHT_SCALE: Final = SQRT_HALF * WEIGHT_ONE


def mix(x: Words) -> Words:
    """Finaliser of SplitMix64: a bijection of 64 bits in which each input bit flips each output bit half the time."""
    x = (x ^ (x >> _30)) * _MUL_A
    x = (x ^ (x >> _27)) * _MUL_B
    return x ^ (x >> _31)


def draw_key(stream: Words, position: Words) -> Words:
    """What all tokens of one draw share."""
    return mix(stream + position * STRIDE)


def token_hash(key: Words, token: Words) -> Words:
    """52 even bits per (draw, token); the larger the hash, the larger the noise."""
    return mix(key + (token + _ONE) * GOLDEN) >> _12


def ln_series(m: Reals) -> Reals:
    """ln(m) for m in [sqrt(1/2), sqrt(2)), as 2 artanh((m - 1) / (m + 1)); relative error about 1e-16."""
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    tail = 1 / 13 + z * (1 / 15 + z * (1 / 17 + z * (1 / 19 + z * (1 / 21 + z * (1 / 23)))))
    return (s + s) * (1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * tail))))))


def exp_series(t: Reals) -> Reals:
    """exp(-t) for |t| <= ln(2) / 2; error about 1e-14."""
    tail = 1 / 5040 - t * (1 / 40320 - t * (1 / 362880 - t * (1 / 3628800 - t * (1 / 39916800))))
    return 1.0 - t * (1.0 - t * (1 / 2 - t * (1 / 6 - t * (1 / 24 - t * (1 / 120 - t * (1 / 720 - t * tail))))))


def stream(seed: int) -> int:
    """Start of a seed's noise, unsigned 64 bit: neighbouring seeds must not have neighbouring noise."""
    return int(mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64) + GOLDEN)[0])


def ln(x: F64) -> F64:
    """Natural logarithm of normal positive numbers."""
    m, e = np.frexp(x)
    low = m < SQRT_HALF
    result: F64 = (e - low) * LN2 + ln_series(np.where(low, m + m, m))
    return result


def gumbel(hashes: U64) -> F64:
    """Standard Gumbel noise, -ln(-ln u), of hashes read as u in (0, 1); always within -3.7 and 36.8."""
    u = (hashes.astype(np.float64) + 0.5) * CELL
    return -ln(-ln(u))


def weight(distance: F64) -> I64:
    """exp(-distance) in units of 2^-42, rounded down, for distances from 0 to infinity."""
    z: F64 = np.minimum(distance * LOG2E, 63.0)
    whole = z.astype(np.int64)
    rest: F64 = (z - whole - 0.5) * LN2
    part = exp_series(rest) * WEIGHT_SCALE
    result: I64 = part.astype(np.int64) >> whole
    return result


def share(p: float, total: int) -> int:
    """The weight that a set must reach to hold the probability `p` of `total`; at least one token's worth."""
    return max(1, min(total, math.ceil(p * float(total))))
