"""What each parameter means, by examples small enough to work out by hand. Run with the twin and with the kernels."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import (
    NothingAllowed,
    Sampler,
    UnusableLogits,
    compiled,
    params,
    reference,
    sampler,
    warm_up,
)
from fireside_engine.errors import FiresideError, InternalError, InvalidRequest

NO_HISTORY = np.empty(0, np.int32)
EVERYTHING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(autouse=True, params=["twin", "kernels"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up()
    if request.param == "twin":
        monkeypatch.setattr(sampler, "_kernels", None)
    assert compiled() == (request.param == "kernels")


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def history(*tokens: int) -> NDArray[np.int32]:
    return np.array(tokens, np.int32)


def possible(logits: NDArray[np.float32], seen: NDArray[np.int32] = NO_HISTORY, **change: object) -> set[int]:
    """Tokens that come up when temperature makes all that are kept about even."""
    subject = Sampler(SamplingParams(**EVERYTHING | {"temperature": 1e6} | change), logits.size)
    return {subject.draw(logits, position, seen) for position in range(60 * logits.size)}


def adjusted(change: dict[str, object], logits: NDArray[np.float32], seen: NDArray[np.int32]) -> list[float]:
    return reference.adjusted(params.rules(SamplingParams(**change), logits.size), logits, seen, None).tolist()


def test_greedy_takes_the_largest_and_the_lowest_id_among_equals() -> None:
    assert Sampler(GREEDY, 4).draw(floats(1, 3, 3, 2), 0, NO_HISTORY) == 1
    assert Sampler(GREEDY, 3).draw(floats(-0.0, 0.0, -1), 0, NO_HISTORY) == 0
    wide = np.zeros(1000, np.float32)
    wide[[400, 401, 999]] = 2
    assert Sampler(GREEDY, 1000).draw(wide, 0, NO_HISTORY) == 400


@pytest.mark.parametrize("change", [{"temperature": -1.0}, {"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-12}])
def test_parameters_that_leave_one_token_draw_as_greedy_does(change: dict[str, float]) -> None:
    random = np.random.default_rng(1)
    subject, greedy = Sampler(SamplingParams(**change), 300), Sampler(GREEDY, 300)
    for position in range(50):
        logits = random.integers(0, 5, 300).astype(np.float32)
        assert subject.draw(logits, position, NO_HISTORY) == greedy.draw(logits, position, NO_HISTORY)


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    logits = np.random.default_rng(2).normal(0, 1, 500).astype(np.float32)
    first, second = (Sampler(SamplingParams(seed=8), 500) for _ in range(2))
    forward = [first.draw(logits, position, history(position)) for position in range(30)]
    assert [second.draw(logits, position, NO_HISTORY) for position in reversed(range(30))] == forward[::-1]


def test_cuts_keep_the_lowest_ids_among_equals() -> None:
    even = floats(1, 1, 1, 1)
    assert possible(even) == {0, 1, 2, 3}
    assert possible(even, top_k=2) == {0, 1}
    assert possible(even, top_p=0.5) == {0, 1}
    assert possible(even, top_p=0.51) == {0, 1, 2}
    assert possible(even, min_p=1.0) == {0, 1, 2, 3}
    assert possible(floats(0, 1, 0, 1), top_k=3) == {0, 1, 3}


def test_cuts_look_at_the_distribution_before_temperature() -> None:
    # Probabilities 8/15, 4/15, 2/15, 1/15, whatever the temperature.
    halves = floats(*np.log([8, 4, 2, 1]))
    assert possible(halves, top_p=0.5) == {0}
    assert possible(halves, top_p=0.79) == {0, 1}
    assert possible(halves, top_p=0.81) == {0, 1, 2}
    assert possible(halves, min_p=0.24) == {0, 1, 2}
    assert possible(halves, min_p=0.26) == {0, 1}
    # top_p measures what top_k left: 8/12 and 4/12.
    assert possible(halves, top_k=2, top_p=0.65) == {0}
    # The deviation of 0, 0, 0, 4 is the square root of 3.
    assert possible(floats(0, 0, 0, 4), top_n_sigma=2.3) == {3}
    assert possible(floats(0, 0, 0, 4), top_n_sigma=2.4) == {0, 1, 2, 3}
    # Minus infinity has no part in the deviation: that of 1, 5 is 2.
    assert possible(floats(-np.inf, 1, 5, -np.inf), top_n_sigma=1.9) == {2}
    assert possible(floats(-np.inf, 1, 5, -np.inf), top_n_sigma=2.1) == {1, 2}


def test_penalties_are_llama_cpps() -> None:
    logits, seen = floats(2, -2, 1, 0), history(0, 0, 1, 3)
    assert adjusted({"repeat_penalty": 2.0}, logits, seen) == [1, -4, 1, 0]
    assert adjusted({"presence_penalty": 0.5}, logits, seen) == [1.5, -2.5, 1, -0.5]
    assert adjusted({"frequency_penalty": 0.5}, logits, seen) == [1, -2.5, 1, -0.5]
    both = {"repeat_penalty": 2.0, "presence_penalty": 0.25, "frequency_penalty": 0.5}
    assert adjusted(both, logits, seen) == [-0.25, -4.75, 1, -0.75]
    assert adjusted(both | {"logit_bias": ((0, 2.0),)}, logits, seen) == [0.75, -4.75, 1, -0.75]


def test_penalties_look_at_the_last_tokens_only() -> None:
    logits, seen = floats(1, 1, 1), history(0, 1, 1)
    one_each = {"frequency_penalty": 1.0}
    assert adjusted(one_each | {"penalty_last_n": 0}, logits, seen) == [1, 1, 1]
    assert adjusted(one_each | {"penalty_last_n": 1}, logits, seen) == [1, 0, 1]
    assert adjusted(one_each | {"penalty_last_n": 2}, logits, seen) == [1, -1, 1]
    assert adjusted(one_each | {"penalty_last_n": -1}, logits, seen) == [0, -1, 1]
    assert adjusted(one_each, logits, history(-1, 3, 99)) == [1, 1, 1]


def test_penalties_and_bias_decide_a_draw() -> None:
    logits, seen = floats(5, 4, 3), history(0, 1)
    penalised = SamplingParams(temperature=0, repeat_penalty=2.0)
    assert Sampler(penalised, 3).draw(logits, 2, seen) == 2
    assert Sampler(penalised, 3).draw(logits, 2, history(0)) == 1
    whole = SamplingParams(temperature=0, repeat_penalty=2.0, penalty_last_n=10**30)
    assert Sampler(whole, 3).draw(logits, 2, seen) == 2
    assert Sampler(SamplingParams(temperature=0, logit_bias=((2, 2.5),)), 3).draw(logits, 0, NO_HISTORY) == 2
    for beyond in (1e39, math.inf):
        forced = SamplingParams(logit_bias=((1, beyond),))
        assert {Sampler(forced, 3).draw(logits, position, NO_HISTORY) for position in range(50)} == {1}
    assert 0 not in possible(logits, logit_bias=((0, -math.inf),))


def test_banned_tokens_never_come_even_with_a_bias() -> None:
    subject = Sampler(SamplingParams(logit_bias=((1, 1e39),), **EVERYTHING), 3, banned=[1, 2])
    assert {subject.draw(floats(0, 0, 0), position, NO_HISTORY) for position in range(50)} == {0}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.data())
def test_a_mask_is_never_violated(n_vocab: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=(n_vocab + 31) // 32 + 1))
    allowed = {token for token in range(min(n_vocab, 32 * len(words))) if words[token // 32] >> (token % 32) & 1}
    logits = np.random.default_rng(n_vocab).normal(0, 1, n_vocab).astype(np.float32)
    mask = np.array(words, np.uint32)
    for change in ({}, EVERYTHING, {"temperature": 0.0}):
        subject = Sampler(SamplingParams(**change), n_vocab)
        for position in range(5):
            if allowed:
                assert subject.draw(logits, position, NO_HISTORY, mask) in allowed
            else:
                with pytest.raises(NothingAllowed):
                    subject.draw(logits, position, NO_HISTORY, mask)


def test_a_mask_of_signed_words_is_read_as_bits() -> None:
    mask = np.array([-(2**31)], np.int32)
    assert Sampler(SamplingParams(), 32).draw(np.zeros(32, np.float32), 0, NO_HISTORY, mask) == 31


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 130, 299])
def test_garbage_of_the_model_is_refused_even_where_no_token_is_allowed(bad: float, where: int) -> None:
    logits = np.zeros(300, np.float32)
    logits[where] = bad
    for given_params in (SamplingParams(logprobs=1), SamplingParams(temperature=0), SamplingParams(**EVERYTHING)):
        subject = Sampler(given_params, 300)
        for mask in (None, np.array([2], np.uint32)):
            with pytest.raises(UnusableLogits, match="not numbers"):
                subject.draw(logits, 0, NO_HISTORY, mask)
        with pytest.raises(UnusableLogits):
            subject.logprobs(logits, 0)


def test_minus_infinity_is_never_drawn_and_alone_is_an_error() -> None:
    logits = floats(-np.inf, 1, -np.inf, 0)
    assert possible(logits) == possible(logits, top_k=3) == possible(logits, top_p=0.999999) == {1, 3}
    nothing = np.full(4, -np.inf, np.float32)
    subject = Sampler(SamplingParams(), 4)
    with pytest.raises(NothingAllowed):
        subject.draw(nothing, 0, NO_HISTORY)
    with pytest.raises(NothingAllowed):
        subject.logprobs(nothing, 0)
    with pytest.raises(NothingAllowed):
        Sampler(SamplingParams(), 2, banned=[0, 1]).draw(floats(1, 2), 0, NO_HISTORY)


def test_errors_are_value_errors_and_travel() -> None:
    with pytest.raises(ValueError, match="No token is allowed") as caught:
        Sampler(SamplingParams(), 1, banned=[0]).draw(floats(1), 0, NO_HISTORY)
    assert isinstance(caught.value, InternalError)
    assert isinstance(FiresideError.from_dict(caught.value.to_dict()), InternalError)


def test_read_only_logits_are_accepted_and_no_input_changes() -> None:
    logits, seen, mask = floats(*range(40)), history(1, 2, 39), np.array([0xFFFF0000, 0xFF], np.uint32)
    before = [array.tobytes() for array in (logits, seen, mask)]
    subject = Sampler(SamplingParams(repeat_penalty=1.5, logit_bias=((3, 4.0),), logprobs=2), 40, [0])
    writable = subject.draw(logits, 3, seen, mask), subject.logprobs(logits, 3)
    for array in (logits, seen, mask):
        array.flags.writeable = False
    assert (subject.draw(logits, 3, seen, mask), subject.logprobs(logits, 3)) == writable
    assert [array.tobytes() for array in (logits, seen, mask)] == before


def test_arrays_of_another_kind_are_refused() -> None:
    subject = Sampler(SamplingParams(), 4)
    for logits in (np.zeros(5, np.float32), np.zeros(4), np.zeros((1, 4), np.float32), np.zeros(8, np.float32)[::2]):
        with pytest.raises(ValueError, match="Expected 4 contiguous float32"):
            subject.draw(logits, 0, NO_HISTORY)
    for seen in (np.zeros(3, np.int64), np.zeros(6, np.int32)[::2]):
        with pytest.raises(ValueError, match="history"):
            subject.draw(floats(0, 0, 0, 0), 0, seen)


def test_threads_do_not_share_buffers() -> None:
    logits = np.random.default_rng(6).normal(0, 1, 5000).astype(np.float32)
    subjects = [Sampler(SamplingParams(seed=seed, logit_bias=((seed, 3.0),)), 5000) for seed in range(4)]

    def draws(subject: Sampler) -> list[int]:
        return [subject.draw(logits, position, NO_HISTORY) for position in range(30)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draws, subjects)) == [draws(subject) for subject in subjects]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": math.nan},
        {"min_p": math.inf},
        {"top_n_sigma": math.nan},
        {"presence_penalty": math.inf},
        {"frequency_penalty": -math.inf},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": -1.0},
        {"repeat_penalty": math.nan},
        {"logit_bias": ((0, math.nan),)},
        {"logit_bias": ((4, 1.0),)},
        {"logit_bias": ((-1, -math.inf),)},
    ],
    ids=str,
)
def test_parameters_that_mean_nothing_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        Sampler(SamplingParams(**change), 4)


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = floats(*np.log([1, 4, 2, 1]))
    subject = Sampler(SamplingParams(logprobs=3, temperature=0.1, logit_bias=((0, 50.0),)), 4, banned=[1])
    drawn, alternatives = subject.logprobs(logits, 3)
    assert drawn == pytest.approx(math.log(1 / 8), abs=1e-6)
    assert [token for token, _ in alternatives] == [1, 2, 0]
    assert [value for _, value in alternatives] == pytest.approx(np.log([1 / 2, 1 / 4, 1 / 8]), abs=1e-6)
    assert Sampler(SamplingParams(logprobs=0), 4).logprobs(logits, 1)[1] == []
    assert Sampler(SamplingParams(), 4).logprobs(logits, 1)[1] == []
    assert len(Sampler(SamplingParams(logprobs=99), 4).logprobs(logits, 1)[1]) == 4


def test_logprobs_are_always_json() -> None:
    largest = params.LARGEST
    logits = floats(-np.inf, largest, largest, -largest, 0)
    drawn, alternatives = Sampler(SamplingParams(logprobs=5), 5).logprobs(logits, 0)
    assert drawn == -9999.0
    assert [token for token, _ in alternatives] == [1, 2, 4, 3, 0]
    assert [value for _, value in alternatives] == pytest.approx([-math.log(2), -math.log(2), -9999, -9999, -9999])
    json.dumps([drawn, alternatives], allow_nan=False)
