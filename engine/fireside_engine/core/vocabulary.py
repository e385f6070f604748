"""Whether two models speak of the same tokens, so that one can draft for the other. Pure.

The rules are those of llama.cpp (common/speculative.cpp): the same kind of vocabulary, the same tokens at the begin and
the end of a text where they are added, sizes that differ by padding only, and the same text for every token but the
first few, which are often renamed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PADDING = 128
FIRST = 5
"""Tokens before this one are not compared."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    kind: int
    n: int
    bos: int
    """-1 where none is added."""
    eos: int
    text: Callable[[int], bytes]


def difference(one: Vocabulary, other: Vocabulary) -> str:
    """What differs, in words; empty where nothing does that matters."""
    if one.kind != other.kind:
        return "its vocabulary is of another kind"
    if one.bos != other.bos or one.eos != other.eos:
        return "texts begin or end with another token"
    if abs(one.n - other.n) > PADDING:
        return f"it has {other.n:,} tokens, not {one.n:,}"
    for token in range(FIRST, min(one.n, other.n)):
        if one.text(token) != other.text(token):
            return f"token {token} is another one"
    return ""
