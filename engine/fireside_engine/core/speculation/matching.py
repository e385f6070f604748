"""Where a text's end was seen before, and what followed: the specification, written so that numba can compile it.

An index over an array of tokens keeps, for each of three lengths, the latest position that a run of that many tokens
led to, and from each position the one before it (hash chains, as LZ77 compressors have them). The end of a text is
looked up in all three, at most MOST positions in each; comparing backwards gives the true length of each match. Work
for a token is bounded by constants whatever the length of the history, and so is memory.

Drafting follows SuffixDecoding (arXiv 2411.04975): continuations vote, token after token, and those that disagree
leave; longer matches are asked first, then shorter ones; the draft with the largest sum of cumulated probabilities, the
expected number of accepted tokens, wins. The probabilities are not the votes themselves but what such votes were worth
so far (`calibration`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

ORDERS: Final = 3
MOST: Final = 8
"""Positions looked at for each length of run."""
CANDIDATES: Final = ORDERS * MOST + 1
LONGEST: Final = 64
"""Matches are not compared further back."""
MAX_DRAFT: Final = 31
"""Tokens of a draft; with the token before them a batch of 32."""
LENGTH_BINS: Final = 6
VOTE_BINS: Final = 4
CELLS: Final = LENGTH_BINS * VOTE_BINS
LEAST: Final = 0.1
"""A draft ends where it is less likely than this to be reached."""
SURE: Final = 0.995
_BITS: Final = 0x7FFFFFFF


def order_of(level: int) -> int:
    """Length of the runs of a level: long ones find the right one of many similar places, short ones find any."""
    return 2 if level == 0 else 5 if level == 1 else 12


def bucket_of(tokens: I32, end: int, order: int, mask: int) -> int:
    """Hash of the run that ends before `end`; the same in Python and in 64-bit integers."""
    h = 0
    for i in range(end - order, end):
        h = ((h * 1000003) ^ (int(tokens[i]) + 7)) & _BITS
    return (h ^ (h >> 15)) & mask


def push(tokens: I32, start: int, stop: int, heads: I32, links: I32) -> None:
    """Index the runs that end before start + 1, ..., stop. heads: (ORDERS, 2^k), links: (ORDERS, capacity + 1)."""
    mask = heads.shape[1] - 1
    for level in range(ORDERS):
        order = order_of(level)
        for end in range(max(start + 1, order), stop + 1):
            bucket = bucket_of(tokens, end, order, mask)
            links[level, end] = heads[level, bucket]
            heads[level, bucket] = end


def match_length(tail: I32, m: int, tokens: I32, at: int) -> int:
    """How many tokens before `at` agree with the end of tail[:m]."""
    length = 0
    while length < LONGEST and length < at and length < m and tokens[at - 1 - length] == tail[m - 1 - length]:
        length += 1
    return length


def cell_of(length: int, votes: int, voters: int) -> int:
    """The cell of the calibration table: by length of the match, and by how the votes fell."""
    row = 0 if length <= 2 else 1 if length <= 4 else 2 if length <= 8 else 3 if length <= 16 else 4
    if length > 32:
        row = 5
    if votes < voters:
        return row * VOTE_BINS + (1 if 3 * votes >= 2 * voters else 0)
    return row * VOTE_BINS + (2 if votes == 1 else 3)


def gather(tail: I32, m: int, tokens: I32, n: int, heads: I32, links: I32, pointer: int, at: I64, lengths: I64) -> int:
    """Fill in the positions that the end of tail[:m] led to before, and how long each match is; returns their number.

    pointer: a position that is looked at first (0: none), so that a copy once found is not lost among similar places.
    Positions below `n` only; only matches of the shortest run or more.
    """
    mask = heads.shape[1] - 1
    found = 0
    if 0 < pointer < n:
        length = match_length(tail, m, tokens, pointer)
        if length >= order_of(0):
            at[0], lengths[0] = pointer, length
            found = 1
    for level in range(ORDERS - 1, -1, -1):
        order = order_of(level)
        if m < order:
            continue
        position = heads[level, bucket_of(tail, m, order, mask)]
        looked = 0
        while position > 0 and looked < MOST:
            if position < n:
                looked += 1
                known = False
                for i in range(found):
                    known = known or at[i] == position
                if not known:
                    length = match_length(tail, m, tokens, position)
                    if length >= order_of(0):
                        at[found], lengths[found] = position, length
                        found += 1
            position = links[level, position]
    return found


def follow(
    tokens: I32,
    n: int,
    loops: bool,
    at: I64,
    lengths: I64,
    found: int,
    least: int,
    table: F64,
    discount: float,
    limit: int,
    draft: I32,
    p: F64,
    cells: I32,
) -> tuple[int, float]:
    """Let the positions whose match has at least `least` tokens vote, token after token.

    Fills in the draft, the probability of each token given those before, and its cell; returns length and score. With
    `loops` a continuation that reaches the end of the text goes on with the draft itself, as repetitions do.
    """
    alive = np.zeros(found, np.bool_)
    for i in range(found):
        alive[i] = lengths[i] >= least
    reached, score = 1.0, 0.0
    for j in range(limit):
        winner, most, longest, voters = -1, 0, 0, 0
        for i in range(found):
            if not alive[i]:
                continue
            where = at[i] + j
            if where >= n and not loops:
                alive[i] = False
                continue
            token = tokens[where] if where < n else draft[where - n]
            if token < 0:
                alive[i] = False
                continue
            voters += 1
            votes, far = 0, 0
            for k in range(found):
                if alive[k]:
                    there = at[k] + j
                    if there >= n and not loops:
                        continue
                    other = tokens[there] if there < n else draft[there - n]
                    if other == token:
                        votes += 1
                        far = max(far, lengths[k])
            if votes > most or (votes == most and far > longest):
                winner, most, longest = token, votes, far
        if voters == 0:
            return j, score
        cell = cell_of(longest + j, most, voters)
        p[j] = min(SURE, table[cell] * discount)
        reached *= p[j]
        if reached < LEAST:
            return j, score
        draft[j], cells[j] = winner, cell
        score += reached
        for i in range(found):
            if alive[i]:
                where = at[i] + j
                alive[i] = (tokens[where] if where < n else draft[where - n]) == winner
    return limit, score


def draft(
    tail: I32,
    m: int,
    tokens: I32,
    n: int,
    heads: I32,
    links: I32,
    pointer: int,
    loops: bool,
    table: F64,
    discount: float,
    limit: int,
    out: I32,
    p: F64,
    cells: I32,
) -> tuple[int, float, int]:
    """The best draft after tail[:m] by what tokens[:n] hold: (length, score, position of the longest match or 0).

    `out`, `p` and `cells` have room for MAX_DRAFT.
    """
    at, lengths = np.zeros(CANDIDATES, np.int64), np.zeros(CANDIDATES, np.int64)
    found = gather(tail, m, tokens, n, heads, links, pointer, at, lengths)
    longest, best = 0, 0
    for i in range(found):
        if lengths[i] > longest:
            longest, best = lengths[i], at[i]
    length, score = 0, 0.0
    some, some_p, some_cells = np.zeros(MAX_DRAFT, np.int32), np.zeros(MAX_DRAFT), np.zeros(MAX_DRAFT, np.int32)
    least = longest
    while least > 0:
        size, worth = follow(
            tokens, n, loops, at, lengths, found, least, table, discount, limit, some, some_p, some_cells
        )
        if worth > score:
            length, score = size, worth
            out[:size], p[:size], cells[:size] = some[:size], some_p[:size], some_cells[:size]
        # The longest match alone, then those of half its length, and so on: they have seen more continuations.
        least = least // 2 if least // 2 >= order_of(0) else 0
    return length, score, best
