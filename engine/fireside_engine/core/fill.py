"""Filling in the middle: what stands before and after the cursor becomes a prompt of the model's own FIM tokens.

The order is that of the models' makers: other files of the project, then the text before the cursor, then the text
after it. What is too long loses the parts that are farthest from the cursor. The text before it is cut at multiples of
CUT, so that the prompt's beginning stays the same while somebody types, and with it what the KV cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fireside_engine.core.request import FillPrompt
from fireside_engine.core.step import Tokens

CUT = 256
PROJECT = "project"
"""The name of the project; models were trained on repositories, and any name will do."""
FILE = "filename"
"""The name of the file with the cursor, as llama-server writes it."""
SNIPPET = "\n\n--- snippet ---\n\n"


@dataclass(frozen=True, slots=True)
class FillTokens:
    """Ids of a vocabulary's FIM tokens; the last two, for other files, are -1 where it has none."""

    prefix: int
    suffix: int
    middle: int
    project: int = -1
    file: int = -1


def fill(prompt: FillPrompt, tokens: FillTokens, encode: Callable[[str], Tokens], room: int) -> Tokens:
    """A prompt of at most `room` tokens, without the BOS token. `encode` makes tokens of plain text."""
    room -= 4
    before = np.concatenate([encode(prompt.prefix), encode(prompt.middle)])
    after = encode(prompt.suffix)
    # Three quarters for the text before the cursor, unless the other side leaves some of its own.
    keep_after = min(len(after), max(room // 4, room - len(before)))
    before = _tail(before, room - keep_after)
    parts: list[Sequence[int] | Tokens] = [
        [tokens.prefix],
        before,
        [tokens.suffix],
        after[:keep_after],
        [tokens.middle],
    ]
    others = _others(prompt, tokens, encode, room - len(before) - keep_after)
    return np.concatenate([np.asarray(part, np.int32) for part in [*others, *parts]])


def _tail(tokens: Tokens, room: int) -> Tokens:
    """The end of `tokens`, at most `room` of them."""
    surplus = len(tokens) - room
    if surplus <= 0:
        return tokens
    step = min(CUT, max(1, room // 4))
    return tokens[-(-surplus // step) * step :]


def _others(
    prompt: FillPrompt, tokens: FillTokens, encode: Callable[[str], Tokens], room: int
) -> list[Sequence[int] | Tokens]:
    """Other files, as many as fit: clients put the most important last, so the first are left out."""
    if not prompt.extra:
        return []
    opening: list[Sequence[int] | Tokens] = []
    closing: list[Sequence[int] | Tokens] = []
    if tokens.project >= 0:
        opening = [[tokens.project], encode(f"{PROJECT}\n")]
    if tokens.file >= 0:
        closing = [[tokens.file], encode(f"{FILE}\n")]
    room -= sum(len(part) for part in (*opening, *closing))
    chunks: list[Sequence[int] | Tokens] = []
    for name, text in reversed(prompt.extra):
        chunk: list[Sequence[int] | Tokens] = (
            [[tokens.file], encode(f"{name}\n")] if tokens.file >= 0 else [encode(SNIPPET)]
        )
        chunk.append(encode(text))
        room -= sum(len(part) for part in chunk)
        if room < 0:
            break
        chunks = [*chunk, *chunks]
    return [*opening, *chunks, *closing] if chunks else []
