"""Where in a text the tokens are that were drafted and accepted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fireside_engine.core.detokenizer import Detokenizer


def runs(pieces: Iterable[bytes], accepted: Collection[int], length: int) -> tuple[tuple[int, int], ...]:
    """(first character, number of characters) of each run of accepted tokens, within the first `length` characters.

    pieces: bytes of the answer's tokens. A character belongs to the token that completes it.
    """
    found: list[list[int]] = []
    detokenizer, at = Detokenizer(), 0
    for i, piece in enumerate(pieces):
        size = min(len(detokenizer.push(piece)), length - at)
        if i in accepted and size > 0:
            if found and sum(found[-1]) == at:
                found[-1][1] += size
            else:
                found.append([at, size])
        at += max(0, size)
    return tuple((first, size) for first, size in found)
