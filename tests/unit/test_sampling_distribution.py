"""Tokens come as often as the parameters say: chi-square against distributions worked out here, independently."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import Sampler, warm_up

NO_HISTORY = np.empty(0, np.int32)
DRAWS = 20_000
EVERYTHING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
ENOUGH = 1e-4
"""Fixed seeds: a p-value below this would be a defect, not bad luck."""


def expected(params: SamplingParams, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """llama.cpp's chain on plain lists of (token, logit), step by step."""
    ranked = sorted(enumerate(logits.astype(np.float64)), key=lambda pair: (-pair[1], pair[0]))
    top = ranked[0][1]
    if params.top_n_sigma > 0:
        reach = params.top_n_sigma * float(np.std([value for _, value in ranked]))
        ranked = [pair for pair in ranked if pair[1] >= top - reach]
    if params.top_k > 0:
        ranked = ranked[: params.top_k]
    if params.top_p < 1:
        shares = special.softmax([value for _, value in ranked])
        ranked = ranked[: 1 + int(np.argmax(np.cumsum(shares) >= params.top_p))]
    if params.min_p > 0:
        ranked = [pair for pair in ranked if np.exp(pair[1] - top) >= params.min_p]
    result = np.zeros(logits.size)
    result[[token for token, _ in ranked]] = special.softmax([value / params.temperature for _, value in ranked])
    return result


@pytest.mark.parametrize("n_vocab", [12, 700])
@pytest.mark.parametrize(
    "change",
    [
        {},
        EVERYTHING | {"temperature": 1.0},
        EVERYTHING | {"temperature": 2.5},
        EVERYTHING | {"temperature": 0.3},
        EVERYTHING | {"temperature": 1.0, "top_p": 0.8},
        EVERYTHING | {"temperature": 1.0, "min_p": 0.2},
        EVERYTHING | {"temperature": 1.0, "top_n_sigma": 1.2},
        {"temperature": 3.0, "top_k": 8, "top_p": 0.9, "min_p": 0.01},
    ],
    ids=str,
)
def test_tokens_come_as_often_as_they_should(change: dict[str, float], n_vocab: int) -> None:
    warm_up()
    params = SamplingParams(seed=77, **change)
    logits = np.random.default_rng(n_vocab).normal(0, 1.7, n_vocab).astype(np.float32)
    subject = Sampler(params, n_vocab)
    drawn = [subject.draw(logits, position, NO_HISTORY) for position in range(DRAWS)]
    observed, wanted = np.bincount(drawn, minlength=n_vocab), expected(params, logits) * DRAWS
    assert not observed[wanted == 0].any()
    # Chi-square needs some five expected draws in a cell; rarer tokens share one.
    common = wanted >= 5
    cells = [(observed[common], wanted[common])]
    if wanted[~common].sum() > 0:
        cells.append(([observed[~common].sum()], [wanted[~common].sum()]))
    counts, means = (np.concatenate(side) for side in zip(*cells, strict=True))
    assert len(means) > 1
    assert stats.chisquare(counts, means).pvalue > ENOUGH


def test_two_positions_are_drawn_independently() -> None:
    warm_up()
    logits = np.array([0.5, 0.0, -0.5, 0.2], np.float32)
    subject = Sampler(SamplingParams(seed=4, **EVERYTHING), 4)
    drawn = np.array([subject.draw(logits, position, NO_HISTORY) for position in range(DRAWS)])
    table = np.zeros((4, 4))
    np.add.at(table, (drawn[0::2], drawn[1::2]), 1)
    assert stats.chi2_contingency(table).pvalue > ENOUGH
