"""Speculative cascades: which tokens of a smaller model stay, and that nothing changes without a tolerance."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fireside_engine.core.events import Delta, Event, Finished
from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import Sampler, reference
from fireside_engine.core.sampling.params import rules
from fireside_engine.core.sampling.tolerance import tolerates
from fireside_engine.core.scheduler import Rules, Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.speculation.speculator import Limits, Speculator
from fireside_engine.core.step import Drawn, Result, Step
from fireside_engine.llama.drawer import RequestDrawer

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import N_VOCAB, FakeRunner, Greedy, next_token

FLAT = {size: 1.0 + 0.02 * size for size in (1, 2, 3, 4, 5, 6, 8, 12, 16)}


class Flat(FakeRunner):
    """Verifying many tokens takes as long as one."""

    def execute(self, step: Step) -> Result:
        result = super().execute(step)
        return replace(result, finished=result.started + 1.0)


class Lenient(Greedy):
    """Keeps even suggestions, from a tolerance of 0.5 on."""

    def settle(
        self, logits: object, position: int, history: object, remaining: int, suggested: int, tolerance: float
    ) -> Drawn:
        drawn = self.draw(logits, position, history, remaining)
        token = suggested if tolerance >= 0.5 and suggested % 2 == 0 else drawn.token
        return Drawn(token, kept=token == suggested)


def answer(
    prompt: list[int], proposed: list[int] | None, rows: int, tolerance: float, limit: int = 40
) -> tuple[list[int], Finished, int]:
    scheduler = Scheduler(
        Rules(n_slots=1, n_ctx=512, n_batch=256, decode_width=1), Speculator(Limits(most_rows=rows), FLAT)
    )
    runner = Flat(1, 512, 256)
    proposal = None if proposed is None else np.array(proposed, np.int32)
    sequence = Sequence(
        "r",
        np.array(prompt, np.int32),
        Lenient(),
        lambda t: b"%d " % t,
        {0},
        limit,
        given=proposal,
        tolerance=tolerance,
    )
    scheduler.submit(sequence)
    events: list[Event] = []
    while step := scheduler.schedule(runner.now):
        events += scheduler.commit(step, runner.execute(step))
    tokens = [int(word) for event in events if isinstance(event, Delta) for word in event.text.split()]
    end = events[-1]
    assert isinstance(end, Finished)
    return tokens, end, len(runner.steps)


def alone(prompt: list[int], n: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < n and (not tokens or tokens[-1] != 0):
        tokens.append(next_token(prompt + tokens))
    return [token for token in tokens if token != 0]


prompts = st.lists(st.integers(1, N_VOCAB - 1), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(prompts, st.lists(st.integers(1, N_VOCAB - 1), max_size=30), st.integers(0, 30), st.integers(1, 32))
def test_without_tolerance_a_given_answer_changes_nothing(
    prompt: list[int], wrong: list[int], n_right: int, rows: int
) -> None:
    proposed = alone(prompt, n_right) + wrong
    tokens, end, _ = answer(prompt, proposed, rows, 0.0)
    plain, _, _ = answer(prompt, None, 1, 0.0)
    assert tokens == plain == alone(prompt, 40)
    agreed = next((i for i, pair in enumerate(zip(proposed, tokens, strict=False)) if pair[0] != pair[1]), None)
    assert end.timings.kept_n == (min(len(proposed), len(tokens)) if agreed is None else agreed)
    assert end.timings.deferred_n == (agreed is not None or len(proposed) > len(tokens) < 40)


def test_an_answer_that_is_right_is_read_in_few_steps() -> None:
    prompt = [5, 6, 7]
    proposed = alone(prompt, 40)
    tokens, end, steps = answer(prompt, proposed, 32, 0.0)
    assert tokens == proposed
    assert end.timings.kept_n == len(proposed)
    assert steps <= len(proposed) // 4
    assert {s: n for s, n, _ in end.timings.draft_sources}["given"] >= len(proposed) // 2


@settings(max_examples=25, deadline=None)
@given(prompts, st.lists(st.integers(1, N_VOCAB - 1), min_size=1, max_size=30), st.integers(2, 32))
def test_a_tolerant_request_keeps_the_longest_prefix_that_is_good_enough(
    prompt: list[int], proposed: list[int], rows: int
) -> None:
    """The first suggestion, which comes with the prompt, is judged like all others."""
    expected: list[int] = []
    for suggestion in proposed:
        own = next_token(prompt + expected)
        expected.append(suggestion if suggestion % 2 == 0 else own)
        if expected[-1] != suggestion:
            break
    tokens, end, _ = answer(prompt, proposed, rows, 0.5)
    kept = next((i for i, (a, b) in enumerate(zip(proposed, expected, strict=False)) if a != b), len(expected))
    if 0 not in expected:
        assert tokens[: len(expected)] == expected
        assert end.timings.kept_n == kept
    assert tokens == alone(prompt, 40) or kept > 0


def test_the_answer_may_end_where_the_smaller_model_ended() -> None:
    tokens, end, _ = answer([3], [2, 4, 0], 8, 0.9)
    assert tokens == [2, 4]
    assert (end.timings.kept_n, end.timings.predicted_n) == (3, 3)


logits_of = st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=40).map(lambda v: np.array(v, np.float32))


@settings(max_examples=80, deadline=None)
@given(logits_of, st.data())
def test_a_wider_tolerance_keeps_at_least_the_same(logits: np.ndarray, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    low, high = sorted(data.draw(st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))))
    params = SamplingParams(
        temperature=data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])), top_k=data.draw(st.integers(0, 12))
    )
    made = rules(params, len(logits))
    history = np.zeros(0, np.int32)
    if tolerates(made, logits, history, None, token, low):
        assert tolerates(made, logits, history, None, token, high)
    assert tolerates(made, logits, history, None, token, 1.0)
    assert tolerates(made, logits, history, None, int(np.argmax(logits)), low)


@settings(max_examples=80, deadline=None)
@given(logits_of, st.sampled_from([0, 2, 3, 7, 12]), st.floats(0.05, 1.0), st.floats(0.01, 0.99))
def test_the_rule_is_that_of_the_reference(logits: np.ndarray, top_k: int, top_p: float, tolerance: float) -> None:
    """A = {v: p(v) >= (1 - a) max p} among what the cuts leave, by probabilities instead of logits."""
    made = rules(SamplingParams(temperature=0.7, top_k=top_k, top_p=top_p, min_p=0.0), len(logits))
    values = logits.astype(np.float64)
    kept = set(reference.cut(made, values, reference.ranked(values)).tolist())
    p = np.exp((values - values.max()) / 0.7)
    for token in range(len(logits)):
        expected = token in kept and p[token] >= (1 - tolerance)
        if abs(p[token] - (1 - tolerance)) > 1e-9:
            assert tolerates(made, logits, np.zeros(0, np.int32), None, token, tolerance) == expected


def test_a_masked_token_is_never_good_enough() -> None:
    logits = np.array([5.0, 4.9, 1.0, 0.0], np.float32)
    made = rules(SamplingParams(), 4)
    mask = np.array([0b1101], np.uint32)
    assert not tolerates(made, logits, np.zeros(0, np.int32), mask, 1, 1.0)
    assert tolerates(made, logits, np.zeros(0, np.int32), mask, 0, 0.1)


def test_sampled_answers_have_the_distribution_of_the_reference() -> None:
    """pi(v) = q(v)[v in A] + p(v)(1 - q(A)), where the small model draws with the very noise of the large one."""
    rng = np.random.default_rng(1)
    n, tolerance, positions = 12, 0.4, 15_000
    large, small = (rng.normal(0, 1.2, n).astype(np.float32) for _ in range(2))
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=7)
    drawer = RequestDrawer(Sampler(params, n), lambda _: b"")
    drafter = Sampler(params, n)
    history = np.zeros(0, np.int32)
    counts = np.zeros(n)
    for position in range(positions):
        suggested = drafter.draw(small, position, history)
        counts[drawer.settle(large, position, history, 1, suggested, tolerance).token] += 1
    p, q = (np.exp(x.astype(float)) / np.exp(x.astype(float)).sum() for x in (large, small))
    good = p >= (1 - tolerance) * p.max()
    assert 0 < good.sum() < n
    expected = q * good + p * (1 - q[good].sum())
    assert stats.chisquare(counts, expected * positions).pvalue > 1e-4
    lossless = stats.chisquare(counts, p * positions).pvalue
    assert lossless < 1e-6, "the two distributions are too alike for this test to tell"
