"""One line on why a prompt was not known further. Pure."""

from __future__ import annotations

from fireside_engine.core.sequence import Sequence
from fireside_engine.core.window import TILE

SHOWN = 4
"""Tokens of the prompt that are shown where it leaves what is known."""


def cache_reason(sequence: Sequence) -> str:
    """Empty where nothing is to be said: all was known, or nothing like this prompt was there."""
    divergence = sequence.divergence
    n_prompt = len(sequence.prompt)
    if divergence is None or divergence.position >= n_prompt - 1 or n_prompt - sequence.n_cached <= TILE:
        return ""
    at = divergence.position
    if at < TILE and at < n_prompt // 4:
        return ""
    new = b"".join(sequence.piece(int(token)) for token in sequence.prompt[at : at + SHOWN])
    known = sequence.piece(divergence.known)
    words = f"differs from what is known at token {at:,}: {_quoted(new)} where {_quoted(known)} was"
    if sequence.n_cached < at - TILE:
        words += (
            f"; it was taken up again at token {sequence.n_cached:,}, the last point before that which can be resumed"
        )
    return words


def _quoted(piece: bytes) -> str:
    text = piece.decode("utf-8", "replace").replace("\n", "\\n")
    return f"“{text}”" if text else "a control token"
