"""Which tokens of another model a large model lets pass: the token rule of speculative cascades. Pure.

With p the large model's distribution, q the small model's and a the tolerance, the tokens that are good enough are
A = {v: p(v) >= (1 - a) max p}. A small model's token in A stays; for one that is not, the large model draws its own,
with noise that is independent of the small model's draw. So a position where the small model made a suggestion has the
distribution

    pi(v) = q(v) [v in A] + p(v) (1 - q(A))

(Narasimhan et al. 2025, "Faster Cascades via Speculative Decoding", ICLR, rule V3, re-derived), whatever q is: nothing
of q but the suggestion itself has to be known. Greedy, the rule is logit(max) - logit(v) <= -ln(1 - a), with no
softmax. Tolerance 0 is not this rule, which would favour the mode; it is the lossless verifier.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fireside_engine.core.sampling import reference
from fireside_engine.core.sampling.params import Rules
from fireside_engine.core.sampling.reference import F32, F64, I32, I64, U32

DEFERRAL: Final = 0x5DEECE66D1CE4E5B
"""Turns a seed into that of the draws that replace a suggestion: both models draw with the same noise otherwise, and
the large one's choice would lean on what the small one did not choose."""


def reach(tolerance: float) -> float:
    """How far below the largest a logit may lie, in nats: -ln(1 - a). 0 for 0, infinite for 1."""
    return math.inf if tolerance >= 1.0 else -math.log1p(-max(0.0, tolerance))


def tolerates(rules: Rules, logits: F32, history: I32, mask: U32 | None, token: int, tolerance: float) -> bool:
    """Whether `token` is good enough. A token that mask, bans or cuts exclude never is, unless the tolerance is 1,
    which asks for mask and bans only."""
    values = logits if _plain(rules, mask) else reference.adjusted(rules, logits, history, mask)
    own, top = float(values[token]), float(values.max())
    if not math.isfinite(own) or not math.isfinite(top):
        return False
    if tolerance >= 1.0:
        return True
    if top - own > reach(tolerance) * (rules.temperature or 1.0):
        return False
    return rules.temperature == 0 or _survives(rules, values.astype(np.float64), token)


def _plain(rules: Rules, mask: U32 | None) -> bool:
    return mask is None and not (rules.last_n or len(rules.bias_ids) or len(rules.banned))


def _survives(rules: Rules, values: F64, token: int) -> bool:
    """The cuts leave it."""
    return bool((reference.cut(rules, values, _foremost(rules, values)) == token).any())


def _foremost(rules: Rules, values: F64) -> I64:
    """As `reference.ranked`, as far as the cuts look."""
    if not 0 < rules.top_k < values.size:
        return reference.ranked(values)
    least = np.partition(values, values.size - rules.top_k)[values.size - rules.top_k]
    found = np.nonzero((values >= least) & (values > -np.inf))[0]
    order: I64 = found[np.lexsort((found, -values[found]))]
    return order[: rules.top_k]
