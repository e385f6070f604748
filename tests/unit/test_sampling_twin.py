"""The compiled kernels draw what the numpy specification draws, for anything they can be given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import Sampler, compiled, noise, params, reference, sampler, warm_up

LARGEST = params.LARGEST
many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


def some_params(n_vocab: int) -> st.SearchStrategy[SamplingParams]:
    return st.builds(
        SamplingParams,
        temperature=st.one_of(st.just(0.0), finite(0.05, 5), st.sampled_from([1.0, 1e-30, 5e-324, 1e30])),
        top_k=st.one_of(st.integers(-1, 8), st.integers(0, 2 * n_vocab)),
        top_p=st.one_of(st.just(1.0), finite(0, 1), st.sampled_from([-1.0, 0.5, 0.25, 1e-9, 1 - 1e-9, 2.0])),
        min_p=st.one_of(st.just(0.0), finite(0, 1), st.sampled_from([1e-300, 1.0, 1.5])),
        top_n_sigma=st.one_of(st.just(0.0), finite(0, 4), st.sampled_from([-1.0, 1e300])),
        repeat_penalty=st.one_of(st.just(1.0), finite(0.5, 2), st.sampled_from([1e-6, 1e6])),
        presence_penalty=st.one_of(st.just(0.0), finite(-2, 2), st.sampled_from([1e39, -1e300])),
        frequency_penalty=st.one_of(st.just(0.0), finite(-2, 2), st.sampled_from([1e39, -1e300])),
        penalty_last_n=st.sampled_from([-1, 0, 1, 5, 64]),
        logit_bias=st.lists(
            st.tuples(
                st.integers(0, n_vocab - 1),
                st.one_of(finite(-5, 5), st.sampled_from([100.0, -100.0, 1e39, -1e39, np.inf, -np.inf, LARGEST])),
            ),
            max_size=4,
        ).map(tuple),
        seed=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 3)),
    )


def tiny_logits(n_vocab: int) -> st.SearchStrategy[NDArray[np.float32]]:
    value = st.one_of(
        st.floats(-1e3, 1e3, width=32),
        st.integers(-4, 4).map(float),
        st.sampled_from([-np.inf, 0.0, -0.0, LARGEST, -LARGEST, 1e-45, -1e-45]),
    )
    return st.lists(value, min_size=n_vocab, max_size=n_vocab).map(lambda values: np.array(values, np.float32))


def wide_logits(n_vocab: int) -> st.SearchStrategy[NDArray[np.float32]]:
    """Several blocks of 128: bell-shaped, all equal, few distinct values, one far ahead, half of them impossible."""

    def build(kind: int, seed: int, scale: float) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        values = random.normal(0, scale, n_vocab)
        match kind:
            case 1:
                values[:] = 3.0
            case 2:
                values = random.integers(0, 3, n_vocab) / 2
            case 3:
                values[random.integers(n_vocab)] = 30
            case 4:
                values[random.random(n_vocab) < 0.5] = -np.inf
            case 5:
                values = -np.sort(values)
        return values.astype(np.float32)

    return st.builds(build, st.integers(0, 5), st.integers(0, 2**32), st.sampled_from([0.01, 1.0, 3.0, 50.0]))


def some_mask(n_vocab: int) -> st.SearchStrategy[NDArray[np.uint32] | None]:
    """Exact, short and long masks, of dense, sparse and whole words."""
    enough = (n_vocab + 31) // 32
    word = st.one_of(st.sampled_from([0, 0xFFFFFFFF, 1, 0x80000000]), st.integers(0, 2**32 - 1))
    words = st.lists(word, min_size=max(0, enough - 1), max_size=enough + 1)
    return st.one_of(st.none(), words.map(lambda values: np.array(values, np.uint32)))


@st.composite
def cases(draw: st.DrawFn, wide: bool) -> tuple[object, ...]:
    n_vocab = draw(st.one_of(st.integers(71, 1500), st.sampled_from([128, 256, 1280])) if wide else st.integers(1, 70))
    logits = draw(wide_logits(n_vocab) if wide else tiny_logits(n_vocab))
    history = draw(st.lists(st.integers(-1, n_vocab), max_size=70))
    banned = draw(st.lists(st.integers(0, n_vocab - 1), max_size=2))
    position = draw(st.one_of(st.integers(0, 5), st.integers(0, 2**40)))
    return draw(some_params(n_vocab)), logits, position, np.array(history, np.int32), draw(some_mask(n_vocab)), banned


def both(case: tuple[object, ...]) -> tuple[int, int]:
    """Result of the twin and of the kernel."""
    from fireside_engine.core.sampling import kernels

    given_params, logits, position, history, mask, banned = case
    rules = params.rules(given_params, logits.size, banned)
    before, words = logits.tobytes(), np.empty(0, np.uint32) if mask is None else mask
    counts = np.zeros(logits.size + 3, np.int32)
    fast = kernels.draw(
        logits, position, history, words, mask is not None, np.empty(logits.size + 3, np.float32), counts, rules
    )
    assert logits.tobytes() == before
    assert not counts.any()
    slow = reference.draw(rules, logits, position, history, mask)
    assert logits.tobytes() == before
    return slow, fast


@many
@given(cases(wide=False))
def test_same_token_in_a_tiny_vocabulary(case: tuple[object, ...]) -> None:
    slow, fast = both(case)
    assert slow == fast


@many
@given(cases(wide=True))
def test_same_token_in_many_blocks(case: tuple[object, ...]) -> None:
    slow, fast = both(case)
    assert slow == fast


@pytest.mark.parametrize("n_vocab", [49_152, 151_936])
def test_same_token_in_a_real_vocabulary(n_vocab: int) -> None:
    random = np.random.default_rng(n_vocab)
    everything = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    for trial, change in enumerate(
        [
            {},
            everything,
            everything | {"temperature": 50.0},
            everything | {"top_p": 0.95},
            everything | {"top_p": 0.999, "top_n_sigma": 2.0},
            {"top_k": 7000, "top_p": 0.9},
        ]
    ):
        logits = random.normal(0, 2.5, n_vocab).astype(np.float32)
        case = (SamplingParams(seed=trial, **change), logits, 1000 + trial, np.arange(50, dtype=np.int32), None, [])
        slow, fast = both(case)
        assert slow == fast


@many
@given(st.lists(st.integers(0, 2**52 - 1), min_size=1, max_size=50))
@example([0, 1, 2**51 - 1, 2**51, 2**52 - 2, 2**52 - 1])
def test_noise_is_the_same_to_the_last_bit(hashes: list[int]) -> None:
    from fireside_engine.core.sampling import kernels

    expected = noise.gumbel(np.array(hashes, np.uint64))
    assert [kernels.gumbel(value) for value in hashes] == expected.tolist()


@many
@given(st.lists(st.one_of(finite(0, 50), st.sampled_from([0.0, 5e-324, 1e300, np.inf])), min_size=1, max_size=50))
def test_weights_are_the_same_to_the_last_bit(distances: list[float]) -> None:
    from fireside_engine.core.sampling import kernels

    assert [kernels.weight(value) for value in distances] == noise.weight(np.array(distances)).tolist()


@many
@given(
    st.one_of(st.integers(1, 70).flatmap(tiny_logits), st.integers(71, 900).flatmap(wide_logits)), st.integers(0, 99)
)
def test_same_logprobs(logits: NDArray[np.float32], count: int) -> None:
    from fireside_engine.core.sampling import kernels

    count = min(count, logits.size)
    tokens = np.empty(count, np.int64)
    *fast, scale = kernels.logprobs(logits, tokens)
    *slow, slow_scale, ranked = reference.logprobs(logits, count)
    assert (fast, scale) == (slow, slow_scale)
    if fast[0] == 0:
        assert sorted(tokens) == sorted(ranked)


def test_until_the_kernels_are_ready_the_twin_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(3).normal(0, 2, 700).astype(np.float32)
    history, mask = np.array([1, 2, 3], np.int32), np.full(22, 0x7FFFFFFF, np.uint32)
    subject = Sampler(SamplingParams(seed=5, repeat_penalty=1.2, logprobs=3), logits.size, [9])
    assert compiled()
    fast = [subject.draw(logits, position, history, mask) for position in range(40)]
    fast_logprobs = subject.logprobs(logits, 5)
    monkeypatch.setattr(sampler, "_kernels", None)
    assert not compiled()
    assert [subject.draw(logits, position, history, mask) for position in range(40)] == fast
    assert subject.logprobs(logits, 5) == fast_logprobs


def test_kernels_that_draw_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fireside_engine.core.sampling import kernels
    from fireside_engine.errors import InternalError

    monkeypatch.setattr(sampler, "_kernels", None)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "draw", lambda *_: 7)
        with pytest.raises(InternalError, match="does not draw as specified"):
            warm_up()
    assert not compiled()


def test_importing_the_sampler_does_not_import_numba() -> None:
    code = "import sys, fireside_engine.core.sampling; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
