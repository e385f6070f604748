"""`reference`, compiled: the same tokens, far sooner. The only module that imports numba; importing it compiles.

Nothing is sorted, and nothing is copied but logits that must be adjusted. The vocabulary is cut into blocks of 128
tokens, one pass finds each block's largest logit, and every later stage visits only blocks that can matter to it:

* logits are compared as integers of the same order, their keys: a maximum of integers is vectorised, and shows NaN;
* a cut is a pair (key, id): a token is kept above the key, or at the key up to the id. `_prefix` finds the pair by
  histograms of keys, each of one bucket of the one before. Weights are integers, so no order of adding is implied;
* a block whose largest logit lies d below the best score so far can only win with noise above d, that is with a hash
  above exp(-exp(-d)), so logarithms are computed for a handful of tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, typeof, types
from numba.extending import register_jitable
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import noise, params
from fireside_engine.core.sampling.params import Rules

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
F64 = NDArray[np.float64]
Cut = tuple[int, int]

BLOCK = 128
BUCKETS = 1024
PLUS_INF = 0x7F800000
"""Key of plus infinity; that of minus infinity is the negative."""
LOW_BITS = 0x7FFFFFFF
HASHES = float(1 << noise.HASH_BITS)
MOST_NOISE = 37.0
"""No hash makes more noise than this."""

for _shared in (noise.mix, noise.draw_key, noise.token_hash, noise.ln_series, noise.exp_series):
    register_jitable(_shared)


def _input(dtype: types.Type) -> types.Array:
    """A read-only array, as a view of llama.cpp's memory may be; a writable one is accepted as well."""
    return types.Array(dtype, 1, "C", readonly=True)


_f32, _i32, _u32 = (_input(dtype) for dtype in (types.float32, types.int32, types.uint32))
_work, _counts, _ids = types.float32[::1], types.int32[::1], types.int64[::1]
_rules = typeof(params.rules(SamplingParams(), 1))


@njit(nogil=True)
def key_of(bits: int) -> int:
    """An integer that orders as the float32 of these bits does; both zeros are 0."""
    sign = bits >> 31
    return (bits ^ (sign & LOW_BITS)) - sign


@njit(nogil=True)
def ln(x: float) -> float:
    m, e = math.frexp(x)
    if m < noise.SQRT_HALF:
        m += m
        e -= 1
    return e * noise.LN2 + noise.ln_series(m)


@njit(nogil=True)
def gumbel(token_hash: np.uint64) -> float:
    return -ln(-ln((np.float64(token_hash) + 0.5) * noise.CELL))


@njit(nogil=True)
def weight(distance: float) -> int:
    z = min(distance * noise.LOG2E, 63.0)
    whole = int(z)
    return int(noise.exp_series((z - whole - 0.5) * noise.LN2) * noise.WEIGHT_SCALE) >> whole


@njit(nogil=True)
def _key_at_least(threshold: float) -> int:
    """The smallest key whose float32 is not below the threshold."""
    nearest = np.empty(1, np.float32)
    nearest[0] = threshold
    key = key_of(nearest.view(np.int32)[0])
    return key + 1 if np.float64(nearest[0]) < threshold else key


@njit(nogil=True)
def _maxima(values: F32, maxima: F32) -> tuple[int, int]:
    """Fill in the largest value of each block; return the largest and the smallest key."""
    bits, out = values.view(np.int32), maxima.view(np.int32)
    top, bottom = np.int32(-LOW_BITS), np.int32(LOW_BITS)
    for block in range(maxima.size):
        part = bits[block * BLOCK : (block + 1) * BLOCK]
        largest, smallest = np.int32(-LOW_BITS), np.int32(LOW_BITS)
        for i in range(part.size):
            key = np.int32(key_of(part[i]))
            largest = max(largest, key)
            smallest = min(smallest, key)
        top, bottom = max(top, largest), min(bottom, smallest)
        out[block] = largest if largest >= 0 else -0x80000000 - largest
    return int(top), int(bottom)


@njit(nogil=True)
def _blocks(n: int) -> int:
    return (n + BLOCK - 1) // BLOCK


@njit(nogil=True)
def _find(values: F32, maxima: F32, key: int, nth: int) -> int:
    """The nth token, counted from 1, whose logit has this key."""
    bits, bounds = values.view(np.int32), maxima.view(np.int32)
    for block in range(maxima.size):
        if key_of(bounds[block]) < key:
            continue
        part = bits[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            if key_of(part[i]) == key:
                nth -= 1
                if nth == 0:
                    return block * BLOCK + i
    return -1


@njit(nogil=True)
def _adjust(work: F32, counts: I32, logits: F32, history: I32, mask: U32, masked: bool, rules: Rules) -> None:
    """Copy logits into `work`, adjusted. The mask comes first, which is the same because minus infinity stays."""
    n = logits.size
    if not masked:
        work[:] = logits
    else:
        for word in range((n + 31) // 32):
            allowed = mask[word] if word < mask.size else np.uint32(0)
            start = np.uint64(word * 32)
            for i in range(np.uint64(min(32, n - word * 32))):
                kept = (allowed >> np.uint32(i)) & np.uint32(1)
                work[start + i] = logits[start + i] if kept else np.float32(-np.inf)
    for i in range(rules.bias_ids.size):
        token = rules.bias_ids[i]
        if work[token] > -np.inf:
            work[token] = min(max(np.float64(work[token]) + rules.bias_values[i], -params.LARGEST), params.LARGEST)
    window = history[max(0, history.size - rules.last_n) :]
    for token in window:
        if 0 <= token < n:
            counts[token] += 1
    for token in window:
        if 0 <= token < n and counts[token] > 0:
            if work[token] > -np.inf:
                logit = np.float64(work[token])
                logit = logit * rules.repeat if logit <= 0 else logit / rules.repeat
                logit -= counts[token] * rules.frequency + rules.presence
                work[token] = min(max(logit, -params.LARGEST), params.LARGEST)
            counts[token] = 0
    for token in rules.banned:
        work[token] = -np.inf


@njit(nogil=True)
def _deviation(values: F32) -> float:
    lanes = np.zeros(BLOCK)
    count = 0
    for block in range(_blocks(values.size)):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            if part[i] > -np.inf:
                lanes[i] += part[i]
                count += 1
    mean = _in_order(lanes) / count
    lanes[:] = 0.0
    for block in range(_blocks(values.size)):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            if part[i] > -np.inf:
                spread = part[i] - mean
                lanes[i] += spread * spread
    return math.sqrt(_in_order(lanes) / count)


@njit(nogil=True)
def _in_order(lanes: F64) -> float:
    total = 0.0
    for lane in lanes:
        total += lane
    return total


@njit(nogil=True)
def _total(values: F32, maxima: F32, top: float, cut: Cut) -> int:
    """Weight of all kept tokens."""
    bits, bounds = values.view(np.int32), maxima.view(np.int32)
    cut_key, cut_id = cut
    total = 0
    for block in range(maxima.size):
        if key_of(bounds[block]) < cut_key:
            continue
        start = block * BLOCK
        part, part_bits = values[start : start + BLOCK], bits[start : start + BLOCK]
        for i in range(part.size):
            key = key_of(part_bits[i])
            share = weight(top - part[i])
            total += share if key > cut_key or (key == cut_key and start + i <= cut_id) else 0
    return total


@njit(nogil=True)
def _prefix(values: F32, maxima: F32, top: float, highest: int, cut: Cut, lowest: int, weigh: bool, target: int) -> Cut:
    """The cut after the shortest prefix of the kept tokens that weighs at least `target`, or has that many tokens.

    `highest` is the key of `top`, the largest value. All of that prefix must have keys from `lowest` on. When there is
    too little for the target, the cut stays as it is.
    """
    bits, bounds = values.view(np.int32), maxima.view(np.int32)
    cut_key, cut_id = cut
    weights, counts, shares = np.empty(BUCKETS, np.int64), np.empty(BUCKETS, np.int64), np.ones(BLOCK, np.int64)
    above = 0
    while True:
        shift = 0
        while (highest - lowest) >> shift >= BUCKETS:
            shift += 1
        weights[:] = 0
        counts[:] = 0
        for block in range(maxima.size):
            if key_of(bounds[block]) < lowest:
                continue
            start = block * BLOCK
            part, part_bits = values[start : start + BLOCK], bits[start : start + BLOCK]
            if weigh:
                for i in range(part.size):
                    shares[i] = weight(top - part[i])
            for i in range(part.size):
                key = key_of(part_bits[i])
                if lowest <= key <= highest and (key > cut_key or start + i <= cut_id):
                    bucket = (highest - key) >> shift
                    weights[bucket] += shares[i]
                    counts[bucket] += 1
        bucket = 0
        while bucket < BUCKETS - 1 and above + weights[bucket] < target:
            above += weights[bucket]
            bucket += 1
        if above + weights[bucket] < target:
            return cut
        lowest = max(lowest, highest - ((bucket + 1) << shift) + 1)
        highest -= bucket << shift
        if counts[bucket] == 1 or (not weigh and above + counts[bucket] == target):
            return lowest, (cut_id if lowest == cut_key else values.size)
        if shift == 0:
            each = weights[bucket] // counts[bucket]
            return highest, _find(values, maxima, highest, (target - above + each - 1) // each)


@njit(nogil=True)
def _largest(values: F32, maxima: F32, top: float, highest: int, cut: Cut, count: int) -> Cut:
    """The cut after the `count` first of the kept tokens, or the cut given when there are fewer."""
    if count <= maxima.size // 2:
        # Each of the `count` blocks with the largest maxima has a token from the last of these maxima on.
        bounds = np.empty(_blocks(maxima.size), np.float32)
        _maxima(maxima, bounds)
        lowest, _ = _prefix(maxima, bounds, top, highest, (-PLUS_INF, maxima.size), -PLUS_INF, False, count)
        lowest = max(lowest, cut[0])
    else:
        lowest = cut[0]
    return _prefix(values, maxima, top, highest, cut, lowest, False, count)


@njit(nogil=True)
def _holding(values: F32, maxima: F32, top: float, highest: int, cut: Cut, p: float) -> Cut:
    """The cut after the shortest prefix of the kept tokens that has the probability p of them all."""
    total = _total(values, maxima, top, cut)
    target = max(1, min(total, math.ceil(p * np.float64(total))))
    # The prefix is short as a rule: looking for its end near the top first spares most of the vocabulary.
    for distance in (2.0, 4.0, 8.0):
        lowest = _key_at_least(top - distance)
        if lowest > cut[0] and _total(values, maxima, top, (lowest, values.size)) >= target:
            return _prefix(values, maxima, top, highest, cut, lowest, True, target)
    return _prefix(values, maxima, top, highest, cut, cut[0], True, target)


@njit(nogil=True)
def _least_hash(noise_needed: float) -> int:
    """A hash below this one makes less noise than needed; rounded down, so that no winner is lost."""
    if noise_needed < -4.0:
        return 0
    return max(0, int(math.exp(-math.exp(-noise_needed)) * HASHES) - 4)


@njit(nogil=True)
def _win(values: F32, maxima: F32, top: float, first: int, cut: Cut, temperature: float, draw_key: np.uint64) -> int:
    """The kept token with the largest score; `first` is the token of the largest logit."""
    bits, bounds = values.view(np.int32), maxima.view(np.int32)
    cut_key, cut_id = cut
    best = gumbel(noise.token_hash(draw_key, np.uint64(first)))
    winner = first
    for block in range(maxima.size):
        if key_of(bounds[block]) < cut_key:
            continue
        # Scores are rounded, so a block is given a little more than the bound; infinity is kept by this form.
        needed = (best - (np.float64(maxima[block]) - top) / temperature) * (1.0 - 1e-9) - 1e-7
        if needed > MOST_NOISE:
            continue
        least = np.uint64(_least_hash(needed))
        start = np.uint64(block * BLOCK)
        size = min(BLOCK, values.size - block * BLOCK)
        most = np.uint64(0)
        for i in range(size):
            most = max(most, noise.token_hash(draw_key, start + np.uint64(i)))
        if most < least:
            continue
        for i in range(size):
            token_hash = noise.token_hash(draw_key, start + np.uint64(i))
            if token_hash < least:
                continue
            token = block * BLOCK + i
            key = key_of(bits[token])
            if key > cut_key or (key == cut_key and token <= cut_id):
                score = (np.float64(values[token]) - top) / temperature + gumbel(token_hash)
                if score > best or (score == best and token < winner):
                    best, winner = score, token
    return winner


@njit((_f32, types.int64, _i32, _u32, types.boolean, _work, _counts, _rules), nogil=True, cache=True)
def draw(
    logits: F32, position: int, history: I32, mask: U32, masked: bool, work: F32, counts: I32, rules: Rules
) -> int:
    """`reference.draw`. `work` and `counts` have room for the vocabulary; `counts` is all zeros before and after."""
    n = logits.size
    maxima = np.empty(_blocks(n), np.float32)
    highest, smallest = _maxima(logits, maxima)
    if highest >= PLUS_INF or smallest < -PLUS_INF:
        return params.UNUSABLE
    values = logits
    if masked or rules.bias_ids.size or rules.banned.size or (rules.last_n and history.size):
        values = work[:n]
        _adjust(values, counts, logits, history, mask, masked, rules)
        highest, _ = _maxima(values, maxima)
    if highest == -PLUS_INF:
        return params.NOTHING
    first = _find(values, maxima, highest, 1)
    if rules.temperature == 0:
        return first

    top = np.float64(values[first])
    cut = (-PLUS_INF + 1, n)
    if rules.top_n_sigma > 0:
        cut = (max(cut[0], _key_at_least(top - rules.top_n_sigma * _deviation(values))), n)
    if rules.top_k > 0:
        cut = _largest(values, maxima, top, highest, cut, rules.top_k)
    if rules.top_p < 1:
        cut = _holding(values, maxima, top, highest, cut, rules.top_p)
    least = _key_at_least(top + rules.ln_min_p)
    if least > cut[0]:
        cut = (least, n)
    draw_key = noise.draw_key(np.uint64(rules.stream), np.uint64(position))
    return _win(values, maxima, top, first, cut, rules.temperature, draw_key)


@njit((_f32, _ids), nogil=True, cache=True)
def logprobs(logits: F32, tokens: I64) -> tuple[int, float, float]:
    """`reference.logprobs`; fills `tokens` with the largest, by id."""
    n = logits.size
    maxima = np.empty(_blocks(n), np.float32)
    highest, smallest = _maxima(logits, maxima)
    if highest >= PLUS_INF or smallest < -PLUS_INF:
        return params.UNUSABLE, 0.0, 0.0
    if highest == -PLUS_INF:
        return params.NOTHING, 0.0, 0.0
    top = np.float64(logits[_find(logits, maxima, highest, 1)])
    cut = (-PLUS_INF, n)
    total = _total(logits, maxima, top, cut)
    if tokens.size:
        bits, bounds = logits.view(np.int32), maxima.view(np.int32)
        cut_key, cut_id = _largest(logits, maxima, top, highest, cut, tokens.size)
        found = 0
        for block in range(maxima.size):
            if key_of(bounds[block]) < cut_key:
                continue
            for token in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                key = key_of(bits[token])
                if key > cut_key or (key == cut_key and token <= cut_id):
                    tokens[found] = token
                    found += 1
    return 0, top, ln(total * (1.0 / noise.WEIGHT_ONE))
