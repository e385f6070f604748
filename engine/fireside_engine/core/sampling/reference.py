"""How a token is drawn: the specification, in numpy, to be read. `kernels` does the same faster, token for token.

The order is that of llama.cpp's default chain, so that a model behaves here as its users know it:

    logit_bias → penalties → mask → top_n_sigma → top_k → top_p → min_p → temperature → draw

* The cuts look at the distribution before temperature. Each keeps a prefix of the tokens sorted by logit, the largest
  first and the lowest id first among equals, so a tie at a cut is decided; the first token always stays.
* top_p keeps the shortest prefix that holds the probability p of what the cuts before it left; min_p then keeps logits
  of at least `largest + ln(min_p)`.
* Temperature 0 is the first token. Otherwise the draw is Gumbel-max, the largest `(logit - largest) / T + noise`, with
  noise that depends on seed, position and token alone; this has the distribution softmax(logit / T).
* Bias and penalties are computed in float64, rounded to float32, and kept finite. Minus infinity stays minus infinity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.sampling import noise
from fireside_engine.core.sampling.params import LARGEST, NOTHING, UNUSABLE, Rules

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U32 = NDArray[np.uint32]

LANES = 128
"""The sums of top_n_sigma are kept per token id modulo this, then added up in order: an order that suits SIMD too."""


def draw(rules: Rules, logits: F32, position: int, history: I32, mask: U32 | None) -> int:
    """The token at `position`, or UNUSABLE or NOTHING."""
    if not usable(logits):
        return UNUSABLE
    values = adjusted(rules, logits, history, mask).astype(np.float64)
    order = ranked(values)
    if order.size == 0:
        return NOTHING
    if rules.temperature == 0:
        return int(order[0])
    kept = np.sort(cut(rules, values, order))
    with np.errstate(over="ignore"):  # a tiny temperature may make minus infinity of what lies below the largest
        scores = (values[kept] - values[order[0]]) / rules.temperature
    return int(kept[np.argmax(scores + token_noise(rules, position, kept))])


def logprobs(logits: F32, count: int) -> tuple[int, float, float, I64]:
    """(0, the largest logit, ln of the sum of exp(logit - largest), the `count` first tokens).

    The 0 is UNUSABLE or NOTHING instead when there are no such numbers.
    """
    if not usable(logits):
        return UNUSABLE, 0.0, 0.0, np.empty(0, np.int64)
    values = logits.astype(np.float64)
    top = values.max()
    if top == -np.inf:
        return NOTHING, 0.0, 0.0, np.empty(0, np.int64)
    total = noise.weight(top - values).sum()
    rest = noise.ln(np.array([total * (1.0 / noise.WEIGHT_ONE)]))
    return 0, float(top), float(rest[0]), np.lexsort((np.arange(values.size), -values))[:count]


def usable(logits: F32) -> bool:
    return not bool(np.isnan(logits).any() or np.isposinf(logits).any())


def adjusted(rules: Rules, logits: F32, history: I32, mask: U32 | None) -> F32:
    """Logits after bias, penalties, mask and bans; a new array."""
    work = logits.copy()
    for token, bias in zip(rules.bias_ids, rules.bias_values, strict=True):
        work[token] = _finite(work[token], float(work[token]) + float(bias))
    window = history[max(0, history.size - rules.last_n) :]
    for token, times in zip(*np.unique(window, return_counts=True), strict=True):
        if 0 <= token < work.size:
            logit = float(work[token])
            logit = logit * rules.repeat if logit <= 0 else logit / rules.repeat
            work[token] = _finite(work[token], logit - (float(times) * rules.frequency + rules.presence))
    if mask is not None:
        words = np.zeros((work.size + 31) // 32, "<u4")
        words[: mask.size] = mask[: words.size]
        work[np.unpackbits(words.view(np.uint8), bitorder="little", count=work.size) == 0] = -np.inf
    work[rules.banned] = -np.inf
    return work


def ranked(values: F64) -> I64:
    """Tokens that may be drawn, the largest logit first, the lowest id first among equals."""
    order: I64 = np.lexsort((np.arange(values.size), -values))
    return order[values[order] > -np.inf]


def cut(rules: Rules, values: F64, order: I64) -> I64:
    """What top_n_sigma, top_k, top_p and min_p leave of the ranked tokens."""
    top = values[order[0]]
    if rules.top_n_sigma > 0:
        order = order[values[order] >= top - rules.top_n_sigma * deviation(values)]
    if rules.top_k > 0:
        order = order[: rules.top_k]
    if rules.top_p < 1:
        reached = np.cumsum(noise.weight(top - values[order]))
        order = order[: np.searchsorted(reached, noise.share(rules.top_p, int(reached[-1]))) + 1]
    least = float(top) + rules.ln_min_p
    return order[values[order] >= least]


def deviation(values: F64) -> float:
    """Standard deviation of the finite values."""
    finite = values > -np.inf
    mean = _sum(np.where(finite, values, 0.0)) / np.count_nonzero(finite)
    spread = np.where(finite, values, mean) - mean
    return float(np.sqrt(_sum(spread * spread) / np.count_nonzero(finite)))


def token_noise(rules: Rules, position: int, tokens: I64) -> F64:
    stream = np.array([rules.stream], np.int64).view(np.uint64)
    key = noise.draw_key(stream, np.array([position], np.int64).view(np.uint64))
    return noise.gumbel(noise.token_hash(key, tokens.astype(np.uint64)))


def _finite(before: np.float32, after: float) -> float:
    return -np.inf if before == -np.inf else min(max(after, -LARGEST), LARGEST)


def _sum(values: F64) -> float:
    lanes = np.zeros(LANES)
    for row in np.pad(values, (0, -values.size % LANES)).reshape(-1, LANES):
        lanes += row
    total = 0.0
    for lane in lanes.tolist():
        total += lane
    return total
