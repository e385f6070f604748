"""Sizes as people write them. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_POWERS = "kmgt"


def parse_size(text: str) -> int:
    """Bytes of "2GB", "10 GiB", "500M" or "4096"; units are powers of 1000, with an i of 1024. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError("must be a size such as 2GB or 10GiB")
    base = 1024 if found[3] else 1000
    power = _POWERS.index(found[2].lower()) + 1 if found[2] else 0
    return int(Fraction(found[1]) * base**power)


def size_of(value: object) -> int:
    """Bytes of a number or of words. Raises ValueError."""
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a size such as 2GB or 10GiB")
    return value
