"""Noise is even, independent between seeds, positions and tokens, and the same on every machine."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import Sampler, noise, warm_up

NO_HISTORY = np.empty(0, np.int32)
EVERYTHING = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
ENOUGH = 1e-4
"""Fixed inputs: a p-value below this would be a defect, not bad luck."""


def hashes(seed: int, position: int, tokens: NDArray[np.uint64]) -> NDArray[np.uint64]:
    key = noise.draw_key(np.array([noise.stream(seed)], np.uint64), np.array([position], np.uint64))
    return noise.token_hash(key, tokens)


def uniforms(seed: int, position: int, n: int = 20_000) -> NDArray[np.float64]:
    return (hashes(seed, position, np.arange(n, dtype=np.uint64)) + 0.5) * noise.CELL


@pytest.mark.parametrize(("seed", "position"), [(0, 0), (0, 1), (1, 0), (2**64 - 1, 123_456), (42, 2**40)])
def test_noise_over_tokens_is_uniform(seed: int, position: int) -> None:
    assert stats.kstest(uniforms(seed, position), "uniform").pvalue > ENOUGH


@pytest.mark.parametrize("token", [0, 1, 151_935])
def test_noise_over_positions_and_over_seeds_is_uniform(token: int) -> None:
    one = np.array([token], np.uint64)
    over_positions = [float(hashes(9, position, one)[0]) * noise.CELL for position in range(5000)]
    over_seeds = [float(hashes(seed, 9, one)[0]) * noise.CELL for seed in range(5000)]
    for sample in (over_positions, over_seeds):
        assert stats.kstest(sample, "uniform").pvalue > ENOUGH
        assert stats.pearsonr(sample[:-1], sample[1:]).pvalue > ENOUGH


@pytest.mark.parametrize("other", [(4, 11), (3, 12), (11, 3), (3 + 2**63, 11), (2**64 - 4, 11)])
def test_draws_of_other_seeds_and_positions_are_uncorrelated(other: tuple[int, int]) -> None:
    first, second = uniforms(3, 11), uniforms(*other)
    assert stats.pearsonr(first, second).pvalue > ENOUGH
    assert stats.pearsonr(first[:-1], second[1:]).pvalue > ENOUGH


def test_gumbel_noise_has_its_distribution_and_its_bounds() -> None:
    sample = noise.gumbel(hashes(5, 5, np.arange(20_000, dtype=np.uint64)))
    assert stats.kstest(sample, "gumbel_r").pvalue > ENOUGH
    least, most = noise.gumbel(np.array([0, 2**52 - 1], np.uint64))
    assert -3.7 < least < most < 36.8


def test_series_are_the_functions_they_stand_for() -> None:
    x = np.concatenate(
        [np.geomspace(1e-300, 1e300, 5000), np.linspace(0.4, 2.5, 5000), 1 - np.geomspace(1e-16, 0.1, 99)]
    )
    expected = np.array([math.log(value) for value in x])
    np.testing.assert_allclose(noise.ln(x), expected, rtol=1e-15, atol=1e-300)
    distance = np.concatenate([np.linspace(0, 45, 20_000), [np.inf]])
    np.testing.assert_allclose(noise.weight(distance) / noise.WEIGHT_ONE, np.exp(-distance), rtol=2e-13, atol=2.0**-42)


def test_the_largest_vocabulary_cannot_overflow_a_sum_of_weights() -> None:
    assert int(noise.weight(np.zeros(1))[0]) * 2_000_000 < 2**63


def test_other_seeds_and_positions_draw_other_tokens() -> None:
    warm_up()
    logits = np.zeros(1000, np.float32)
    by_seed = [
        Sampler(SamplingParams(seed=s, top_k=0, top_p=1, min_p=0), 1000).draw(logits, 0, NO_HISTORY) for s in range(300)
    ]
    subject = Sampler(EVERYTHING, 1000)
    by_position = [subject.draw(logits, position, NO_HISTORY) for position in range(300)]
    for drawn in (by_seed, by_position):
        # 300 even draws from 1,000 give about 259 different tokens.
        assert 230 < len(set(drawn)) < 285
    assert [subject.draw(logits, position, NO_HISTORY) for position in range(300)] == by_position


def test_draws_are_those_of_every_other_machine_and_version() -> None:
    """Pinned: a change here changes the text that every seed gives."""
    grid = np.arange(1000)
    logits = ((grid * 37 % 211 - grid * 11 % 67) / np.float32(16)).astype(np.float32)
    samplers = [
        Sampler(SamplingParams(seed=2026, **change), 1000) for change in ({}, {"top_k": 0, "top_p": 1, "min_p": 0})
    ]
    drawn = [[subject.draw(logits, position, NO_HISTORY) for position in range(8)] for subject in samplers]
    assert drawn == [[268, 707, 798, 878, 342, 513, 781, 57], [268, 707, 798, 878, 342, 159, 159, 57]]
