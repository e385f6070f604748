"""Verification: the draws of one stream's rows, up to the first that its draft did not foresee. Pure.

There is no accept rule, unless a request is tolerant (below). A draw is a function of logits, parameters, seed and
position, so each row's token is drawn as
plain decoding would draw it, penalties, constraint and log probabilities included, and drafts only decide how many rows
of a batch were the right ones. For drafts without a distribution of their own no rule accepts more, and with the draft
model's draws under the same noise hardly any does (Daliri, Musco, Suresh 2024, arXiv 2408.07978).

Where a request is tolerant, what a smaller model suggests is kept if it is good enough for this model
(core.sampling.tolerance). That decides what is said, and only there. Drafts that are no suggestion of the smaller
model, and tolerance 0, stay lossless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fireside_engine.core.step import Chunk, Draw, Drawn, Logits
from fireside_engine.errors import FiresideError


def verify(chunk: Chunk, logits: Callable[[int], Logits]) -> list[Drawn | dict[str, Any]]:
    """The tokens drawn for a chunk, at least one; the last may be the error of its draw.

    logits: of a row of the chunk, valid until the next call. The chunk's KV is valid for as many rows as were drawn.
    """
    draw = chunk.draw
    if draw is None:
        return []
    known = len(draw.history) - draw.drafted
    first = known - chunk.start - 1
    drawn: list[Drawn | dict[str, Any]] = []
    for i in range(draw.drafted + 1):
        position = known + i
        try:
            one = _drawn(draw, i, position, None if i < draw.certain else logits(first + i))
        except FiresideError as error:
            drawn.append(error.to_dict())
            break
        drawn.append(one)
        if one.ended or i == draw.drafted or one.token != chunk.tokens[first + i + 1]:
            break
    return drawn


def _drawn(draw: Draw, i: int, position: int, logits: Logits | None) -> Drawn:
    history, remaining = draw.history[:position], draw.remaining - i
    if draw.tolerance > 0.0 and logits is not None and i < len(draw.suggested):
        return draw.drawer.settle(logits, position, history, remaining, draw.suggested[i], draw.tolerance)
    return draw.drawer.draw(logits, position, history, remaining)
