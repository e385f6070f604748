"""Intervals, halves, the judge's word, thresholds, drift: what follows of what was seen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fireside.proving import drift, judging, statistics, thresholds
from fireside.proving.energy import Meter
from fireside.proving.items import embedded
from fireside.proving.judging import Judged, Vote
from fireside.proving.sampling import half_of, place
from fireside.proving.statistics import Tally
from fireside.proving.thresholds import Replay

counts = st.integers(0, 60)
chances = st.floats(0, 1)


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_share_lies_in_its_interval(hits: int, n: int) -> None:
    assume(hits <= n)
    found = statistics.wilson(hits, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    wider = statistics.wilson(hits, n, z=2.6)
    assert wider.low <= found.low <= found.high <= wider.high


def test_wilson_as_published() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert statistics.wilson(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=2e-4)
    assert statistics.wilson(0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=2e-4)


@given(counts, counts, counts)
def test_quality_is_one_where_wins_and_losses_are_equal(win: int, tie: int, loss: int) -> None:
    tally = Tally(win, tie, loss)
    assume(tally.n)
    found = tally.quality()
    assert found.low <= found.high
    mirrored = Tally(loss, tie, win).quality()
    assert found.value + mirrored.value == pytest.approx(2)
    assert found.low + mirrored.high == pytest.approx(2)
    assert (found.value > 1) == (win > loss)


def test_few_prompts_without_a_loss_prove_little() -> None:
    assert Tally(0, 12, 0).quality(statistics.Z_ONE_SIDED).low < 0.9
    assert Tally(0, 200, 0).quality(statistics.Z_ONE_SIDED).low > 0.98


def test_intervals_hold_what_they_promise() -> None:
    """The lower bound, with 95 %, of matched pairs with a known difference is too high in few samples."""
    draw = random.Random(7)
    too_high = 0
    for _ in range(400):
        outcomes = draw.choices(("win", "tie", "loss"), weights=(5, 80, 15), k=60)
        tally = Tally(*(outcomes.count(name) for name in ("win", "tie", "loss")))
        too_high += tally.quality(statistics.Z_ONE_SIDED).low > 0.9
    assert too_high / 400 < 0.075


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 50)), min_size=1, max_size=30), st.integers(0, 9))
def test_a_ratio_lies_in_its_bootstrap(pairs: list[tuple[float, float]], seed: int) -> None:
    found = statistics.ratio(pairs, seed, resamples=100)
    assert found is not None
    assert found == statistics.ratio(pairs, seed, resamples=100)
    assert min(a / b for a, b in pairs) - 1e-9 <= found.low <= found.high <= max(a / b for a, b in pairs) + 1e-9


def test_halves_are_fair_and_stay() -> None:
    items = embedded()
    placed = place(items, None, 1)
    chosen, held = half_of(placed, "chosen"), half_of(placed, "held")
    assert {item.id for item in chosen}.isdisjoint(item.id for item in held)
    assert len(chosen) + len(held) == len(items)
    for kind in {item.kind for item in items}:
        assert abs(sum(i.kind == kind for i in chosen) - sum(i.kind == kind for i in held)) <= 1
    assert place(reversed(items), 24, 1) == placed[:24]
    assert {item.kind for item, _ in placed[:6]} == {item.kind for item in items}
    assert place(items, None, 2) != placed


@given(chances, chances)
def test_swapping_the_answers_changes_nothing_in_the_total(first: float, second: float) -> None:
    """Asked about the other answer, the same two votes come the other way round."""
    mine = judging.preference(Vote(first), Vote(second))
    other = judging.preference(Vote(second), Vote(first))
    assert mine is not None
    assert other is not None
    assert mine + other == pytest.approx(1)
    mirror = {"win": "loss", "tie": "tie", "loss": "win"}
    if abs(abs(mine - 0.5) - judging.TIE_MARGIN) > 1e-9:
        assert judging.outcome(other) == mirror[judging.outcome(mine)]


@given(chances)
def test_a_judge_that_only_sees_places_ties(first: float) -> None:
    assert judging.outcome(judging.preference(Vote(first), Vote(first))) == "tie"


def test_a_vote_is_read_from_probabilities_then_from_words() -> None:
    def answer(content: str | None, *top: tuple[str, float]) -> dict[str, object]:
        entries = [{"token": token, "logprob": value} for token, value in top]
        logprobs = {"content": [{"top_logprobs": entries}]} if top else None
        return {"choices": [{"message": {"content": content}, "logprobs": logprobs}]}

    assert judging.read_vote(answer("A", ("A", -0.105), (" B", -2.303))).first_is_better == pytest.approx(0.9, abs=0.01)
    assert judging.read_vote(answer("B.")).first_is_better == 0.0
    assert judging.read_vote(answer("Both are fine")).first_is_better is None
    assert judging.outcome(judging.preference(Vote(None), Vote(1.0))) == "tie"


def test_the_judge_is_not_told_who_answered_and_reads_no_endless_text() -> None:
    body = judging.question("Q?", "x" * 100_000, "short")
    words = body["messages"][0]["content"]
    assert len(words) < 3 * judging.CLIP
    assert "Answer A:" in words
    assert "Answer B:\nshort" in words


def test_a_taste_for_length_is_reported() -> None:
    def longer_wins(at: int) -> Judged:
        lengths = (90, 10) if at % 2 else (10, 90)
        return Judged(Vote(0.9 if at % 2 else 0.3), Vote(0.3 if at % 2 else 0.9), *lengths)

    found = judging.bias([longer_wins(at) for at in range(20)])
    assert found.longer.low > 0.5
    assert found.n_decided == 20
    assert found.first == pytest.approx(0.6)
    assert judging.bias([Judged(Vote(None), Vote(None), 1, 2)]).n_unclear == 1


def replays(n: int, lost_above: float, kind: str = "open") -> list[Replay]:
    """Doubts from 0 to 1; small answers with a doubt above `lost_above` are worse."""
    doubts = [at / n for at in range(n)]
    return [Replay(kind, d, "loss" if d > lost_above else "tie", 1.0, 4.0) for d in doubts]


def test_twelve_prompts_are_too_few_in_words() -> None:
    choice = thresholds.choose(replays(6, 2.0), 0.9)
    assert not choice.is_made
    assert "too few" in choice.why_not
    assert "at least" in choice.why_not


def test_doubt_that_tells_good_from_bad_gives_a_threshold() -> None:
    choice = thresholds.choose(replays(100, 0.7), 0.9)
    assert choice.is_made
    assert 0.45 <= choice.kinds["open"] <= 0.75
    assert choice.bound >= 0.9
    assert choice.seconds < 0.8


def test_a_bad_small_model_gets_no_threshold() -> None:
    bad = [Replay("open", at / 80, "loss" if at % 2 else "tie", 1.0, 4.0) for at in range(80)]
    choice = thresholds.choose(bad, 0.95)
    assert not choice.is_made
    assert "no doubt tells" in choice.why_not


def test_a_kind_that_the_small_model_cannot_do_goes_to_the_large_one() -> None:
    mixed = replays(60, 2.0, "classification") + replays(60, -1.0, "code")
    choice = thresholds.choose(mixed, 0.9)
    assert choice.kinds == {"classification": 1.0, "code": 0.0}


def test_a_small_model_that_is_slower_is_left_out() -> None:
    slow = [Replay("open", 0.1, "tie", 5.0, 4.0) for _ in range(80)]
    assert not thresholds.choose(slow, 0.8).is_made


outcomes = st.sampled_from(("win", "tie", "tie", "tie", "loss"))
some = st.lists(
    st.builds(Replay, st.sampled_from(("a", "b", "c")), chances, outcomes, st.floats(0.1, 2), st.floats(0.1, 9)),
    max_size=80,
)


@given(some, st.floats(0.5, 0.97), st.floats(0.0, 0.3))
def test_what_is_chosen_keeps_the_floor_and_a_lower_floor_saves_no_less(
    found: list[Replay], floor: float, less: float
) -> None:
    strict, loose = thresholds.choose(found, floor), thresholds.choose(found, floor - less)
    if strict.is_made:
        assert strict.bound >= floor
        assert strict.seconds < 1
        assert loose.is_made
        assert loose.seconds <= strict.seconds + 1e-9
        kept = [r for r in found if strict.kinds[r.kind] > 0 and r.doubt <= strict.kinds[r.kind]]
        assert thresholds.tally(kept).loss <= len(found) * (1 - floor) + thresholds.tally(kept).win
    else:
        assert strict.why_not


def test_the_curve_begins_at_the_large_model() -> None:
    points = thresholds.curve(replays(40, 0.5))
    assert (points[0].threshold, points[0].quality.value, points[0].seconds) == (0.0, 1.0, 1.0)
    assert points[-1].threshold == 1.0
    assert points[-1].seconds == pytest.approx(0.25)


PROOF = {"held_out": {"arms": {"balanced": {"win": 2, "tie": 90, "loss": 3}}}}


def test_drift_is_told_from_noise() -> None:
    same = drift.drift([("open", "tie")] * 28 + [("open", "loss")] * 2, PROOF)
    assert not same.is_drift
    assert "no drift" in same.verdict
    worse = drift.drift([("open", "tie")] * 20 + [("code", "loss")] * 15, PROOF)
    assert worse.is_drift
    assert "drift: 57%" in worse.verdict
    assert worse.kinds["code"] == Tally(0, 0, 15)
    assert "too few" in drift.drift([("open", "loss")] * 5, PROOF).verdict
    assert "no proof" in drift.drift([("open", "tie")] * 30, None).verdict


def test_joules_are_counted_over_the_end_of_a_counter(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    part = tmp_path / "intel-rapl:0:0"
    for directory, name in ((zone, "package-0\n"), (part, "core\n")):
        directory.mkdir()
        (directory / "name").write_text(name)
        (directory / "max_energy_range_uj").write_text("10000000\n")
        (directory / "energy_uj").write_text("9000000\n")
    meter = Meter(tmp_path)
    (zone / "energy_uj").write_text("500000\n")
    (part / "energy_uj").write_text("9900000\n")
    assert meter.take() == pytest.approx(1.5)
    assert meter.take() == 0.0
    (zone / "energy_uj").unlink()
    assert meter.take() is None
    assert "stopped answering" in meter.why_not


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "none")
    assert meter.take() is None
    assert "no energy counters" in meter.why_not
