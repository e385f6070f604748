"""What to compute next: plain decoding, or drafts, for how many streams and how long. Pure.

The choice is the batch that is expected to make the most tokens for its cost. All streams of a batch get the same
number of rows, because llama.cpp computes streams of different lengths one after the other (llama-batch.cpp,
split_equal); where there are fewer drafts than rows, rows are padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fireside_engine.core.speculation.costs import SIZES

MARGIN = 1.04
"""A batch must be expected to be this much better than plain decoding: estimates are not exact."""
CAUTION = 2.0
"""What a batch is expected to win must be at least so many times what it is expected to lose in the cases in which it
loses: probabilities are not exact, and an answer has few batches to even out bad luck."""

May = Callable[[int, float], bool]
"""Whether the first so many streams may lose so many steps."""


@dataclass(frozen=True, slots=True)
class Hope:
    """Drafts of one stream, as far as they matter for the choice."""

    reach: Sequence[float]
    """For each drafted token, the probability that it and all before it are accepted."""
    certain: int = 0
    """Drafted tokens from the first on that cannot be refused."""
    room: int = 32
    """Rows that the stream's context and its request have room for."""

    def tokens(self, rows: int) -> float:
        """Expected tokens of a batch with so many rows."""
        return 1.0 + sum(self.reach[: rows - 1])


@dataclass(frozen=True, slots=True)
class Choice:
    streams: int
    rows: int
    """Of each stream; 1 is plain decoding."""
    gain: float = 1.0
    """Expected rate over that of plain decoding."""


def choose(
    hopes: Sequence[Hope],
    width: int,
    most_rows: int,
    ratio: Callable[[int, int], float],
    may: May | None,
) -> Choice:
    """hopes: of the running streams, the one that waited longest first. width: streams of a plain batch.

    most_rows: rows that a batch may have. ratio: cost of (streams, rows) in single steps. may: None where whatever is
    expected to win is to be tried.
    """
    plain = Choice(min(width, len(hopes)), 1)
    plain_rate = plain.streams / ratio(plain.streams, 1)
    best, best_rate = plain, plain_rate * MARGIN
    for streams in range(1, len(hopes) + 1):
        chosen = hopes[:streams]
        room = min(hope.room for hope in chosen)
        longest = max(len(hope.reach) for hope in chosen)
        if longest == 0:
            continue
        for rows in SIZES[1:]:
            if streams * rows > most_rows or rows > room:
                break
            cost = ratio(streams, rows)
            rate = sum(hope.tokens(rows) for hope in chosen) / cost
            if rate > best_rate and _allowed(chosen, rows, cost, plain_rate, may):
                best, best_rate = Choice(streams, rows, rate / plain_rate), rate
            if rows > longest + 8:
                # Wider than any padding to the next stair of the costs.
                break
    return best


def _allowed(chosen: Sequence[Hope], rows: int, cost: float, plain_rate: float, may: May | None) -> bool:
    if may is None:
        return True
    # Tokens that each stream needs so that nothing is lost.
    needed = cost * plain_rate / len(chosen)
    reach = [sum(hope.reach[i] for hope in chosen if i < len(hope.reach)) / len(chosen) for i in range(rows - 1)]
    missing = shortfall(reach, needed) * len(chosen) / plain_rate
    won = sum(hope.tokens(rows) for hope in chosen) / plain_rate - cost
    return missing <= 0.0 or (won >= CAUTION * missing and may(len(chosen), missing))


def shortfall(reach: Sequence[float], needed: float) -> float:
    """Expected number of tokens by which a batch stays behind the `needed`, counted where it does stay behind.

    reach: for each drafted token, the probability that it and all before it are accepted.
    """
    missing, left = 0.0, 1.0
    for accepted, reached in enumerate((*reach, 0.0)):
        behind = needed - 1.0 - accepted
        if behind <= 0.0:
            break
        missing += (left - reached) * behind
        left = reached
    return missing
