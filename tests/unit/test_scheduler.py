"""The scheduler drives a fake model through any schedule; what each request says must depend on the request alone."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.events import Delta, Event, Failed, Finished, FinishReason, Progress, Started
from fireside_engine.core.rules import Rules, Trimming
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Phase
from fireside_engine.core.window import TILE

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import N_VOCAB, FakeRunner, Greedy, next_token

EOG = frozenset(range(0, N_VOCAB, 97))
RULES = Rules(n_slots=3, n_ctx=640, n_batch=256, decode_width=3)
TEXT = "aé€𝄞 naïve déjà-vu ∑∞ Zürich 日本語 😀!".encode()
"""Pieces are single bytes of it, so that characters are cut in every way."""


def piece(token: int) -> bytes:
    return TEXT[token % len(TEXT) : token % len(TEXT) + 1 + token % 3]


@dataclass(frozen=True)
class Ask:
    prompt: tuple[int, ...]
    limit: int
    stops: tuple[str, ...] = ()
    arrives: int = 0
    """Before which step."""
    cancelled: int | None = None
    """Before which step, counted from its arrival."""


def sequence(name: str, ask: Ask, rules: Rules = RULES, eog: frozenset[int] = EOG) -> Sequence:
    limit = min(ask.limit, rules.n_ctx - len(ask.prompt))
    return Sequence(name, np.array(ask.prompt, np.int32), Greedy(), piece, eog, limit, stops=ask.stops)


def run(asks: list[Ask], rules: Rules = RULES, *, fail_at: frozenset[int] = frozenset()) -> dict[str, list[Event]]:
    """All events of each request, under the given arrivals and cancellations."""
    scheduler, runner = Scheduler(rules), FakeRunner(rules.n_slots, rules.n_ctx, rules.n_batch)
    runner.fail_at = set(fail_at)
    events: dict[str, list[Event]] = {f"r{i}": [] for i in range(len(asks))}
    turn = 0
    while True:
        for i, ask in enumerate(asks):
            if ask.arrives == turn:
                scheduler.submit(sequence(f"r{i}", ask, rules))
            if ask.cancelled is not None and ask.arrives + ask.cancelled == turn:
                scheduler.cancel(f"r{i}")
        idle = scheduler.is_idle
        step = scheduler.schedule(runner.now)
        assert scheduler.is_idle if step is None else not idle
        happened = scheduler.drain()
        if step is not None:
            happened += scheduler.commit(step, runner.execute(step))
        elif turn >= max((a.arrives + (a.cancelled or 0) for a in asks), default=0):
            for event in happened:
                events[event.request_id].append(event)
            break
        for event in happened:
            events[event.request_id].append(event)
        turn += 1
        assert turn < 20_000, "the scheduler does not come to an end"
    assert scheduler.n_active == scheduler.n_waiting == 0
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def expected(ask: Ask, rules: Rules = RULES) -> tuple[str, FinishReason]:
    """The answer by the plainest possible loop: one request, one token at a time, text cut at the end."""
    kv, raw, reason = list(ask.prompt), b"", FinishReason.LENGTH
    for _ in range(min(ask.limit, rules.n_ctx - len(ask.prompt))):
        token = next_token(kv)
        if token in EOG:
            reason = FinishReason.STOP
            break
        kv.append(token)
        raw += piece(token)
        text = np.frombuffer(raw, np.uint8).tobytes().decode("utf-8", "replace")
        if any(stop in text for stop in ask.stops):
            break
    text = _whole(raw)
    met = [(text.find(stop), -len(stop)) for stop in ask.stops if stop in text]
    if met:
        return text[: min(met)[0]], FinishReason.STOP
    return text, reason


def _whole(raw: bytes) -> str:
    import codecs

    return codecs.getincrementaldecoder("utf-8")("replace").decode(raw)


prompts = st.one_of(
    st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=90),
    st.builds(lambda n, seed: list(range(seed, seed + n)), st.integers(1, 400), st.integers(0, 3)),
).map(tuple)
asks = st.builds(
    Ask,
    prompts,
    st.integers(0, 60),
    st.lists(st.sampled_from(["é", "é€", "naï", "\U0001d11e n", "zz", "本"]), max_size=2).map(tuple),
    st.integers(0, 30),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(asks, min_size=1, max_size=7),
    st.integers(1, 3),
    st.sampled_from(list(Trimming)),
    st.booleans(),
)
def test_the_output_is_a_function_of_the_request_alone(
    asks: list[Ask], width: int, trimming: Trimming, generated: bool
) -> None:
    rules = replace(RULES, decode_width=width, trimming=trimming, reuse_generated=generated)
    for name, events in run(asks, rules).items():
        ask = asks[int(name[1:])]
        text, reason = expected(ask)
        assert text_of(events) == text
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.reason is reason
        assert end.n_prompt == len(ask.prompt)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(replace, asks, cancelled=st.none() | st.integers(0, 20)), min_size=1, max_size=7))
def test_each_request_starts_once_and_ends_once_and_the_others_never_notice(asks: list[Ask]) -> None:
    for name, events in run(asks).items():
        ask = asks[int(name[1:])]
        assert [isinstance(event, Finished | Failed) for event in events].count(True) == 1
        assert isinstance(events[-1], Finished | Failed)
        started = [event for event in events if isinstance(event, Started)]
        assert len(started) <= 1
        if ask.cancelled is None:
            assert isinstance(events[0], Started)
            assert text_of(events) == expected(ask)[0]
        else:
            assert expected(ask)[0].startswith(text_of(events)) or not ask.stops or text_of(events) in _held(ask)


def _held(ask: Ask) -> list[str]:
    """Every beginning of the answer's raw text: a cancelled answer may show what a stop string would have cut."""
    raw, kv = b"", list(ask.prompt)
    texts = [""]
    for _ in range(ask.limit):
        token = next_token(kv)
        if token in EOG:
            break
        kv.append(token)
        raw += piece(token)
        texts.append(_whole(raw))
    return texts


@settings(max_examples=60, deadline=None)
@given(st.lists(asks, min_size=2, max_size=6), st.sets(st.integers(0, 25), max_size=4))
def test_a_failed_batch_costs_its_own_requests_only(asks: list[Ask], fail_at: set[int]) -> None:
    for name, events in run(asks, fail_at=frozenset(fail_at)).items():
        end = events[-1]
        if isinstance(end, Failed):
            assert end.error["message"] == "planned"
        else:
            assert text_of(events) == expected(asks[int(name[1:])])[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(asks, min_size=1, max_size=6))
def test_counts_and_progress_are_honest(asks: list[Ask]) -> None:
    for name, events in run(asks).items():
        ask, end = asks[int(name[1:])], events[-1]
        assert isinstance(end, Finished)
        assert end.timings.cache_n + end.timings.prompt_n == len(ask.prompt)
        assert end.timings.prompt_n >= 1
        assert end.timings.predicted_n <= ask.limit
        progress = [event for event in events if isinstance(event, Progress)]
        assert [event.processed for event in progress] == sorted({event.processed for event in progress})
        assert progress[-1].processed == len(ask.prompt)


def test_a_conversation_that_goes_on_keeps_all_its_kv() -> None:
    first = Ask(tuple(range(100)), 20)
    scheduler, runner = Scheduler(RULES), FakeRunner(3, 640, 256)
    _drive(scheduler, runner, sequence("a", first, eog=frozenset()))
    tokens = [int(t) for t in next(scheduler.slots()).tokens[: 100 + 20]]
    again = Ask((*tokens, *range(50)), 5)
    events = _drive(scheduler, runner, sequence("b", again))
    end = events[-1]
    assert isinstance(end, Finished)
    # All but the token drawn last, which was never computed.
    assert end.timings.cache_n == 119
    assert text_of(events) == expected(again)[0]


def test_a_repeated_prompt_goes_back_to_a_cut() -> None:
    ask = Ask(tuple(range(300)), 3)
    scheduler, runner = Scheduler(RULES), FakeRunner(3, 640, 256)
    for name, cached in (("a", 0), ("b", 256), ("c", 256)):
        end = _drive(scheduler, runner, sequence(name, ask))[-1]
        assert isinstance(end, Finished)
        assert end.timings.cache_n == cached


def test_memory_that_cannot_be_cut_serves_as_a_whole_or_not_at_all() -> None:
    rules = replace(RULES, trimming=Trimming.NEVER)
    scheduler, runner = Scheduler(rules), FakeRunner(3, 640, 256)
    _drive(scheduler, runner, sequence("a", Ask(tuple(range(300)), 3)))
    end = _drive(scheduler, runner, sequence("b", Ask(tuple(range(300)), 3)))[-1]
    assert isinstance(end, Finished)
    assert end.timings.cache_n == 0


def test_a_long_prompt_never_stalls_a_running_answer() -> None:
    scheduler, runner = Scheduler(RULES), FakeRunner(3, 640, 256)
    scheduler.submit(sequence("talk", Ask((1, 2, 3), 600), eog=frozenset()))
    for _ in range(10):
        step = scheduler.schedule(runner.now)
        assert step is not None
        scheduler.commit(step, runner.execute(step))
    scheduler.submit(sequence("long", Ask(tuple(range(600)), 2)))
    phases = []
    while scheduler.n_active == 2 or scheduler.n_waiting:
        step = scheduler.schedule(runner.now)
        assert step is not None
        phases.append((step.phase, step.n_tokens))
        scheduler.commit(step, runner.execute(step))
    pieces = [i for i, (phase, _) in enumerate(phases) if phase is Phase.PREFILL]
    assert len(pieces) >= 600 // (TILE * 2)
    assert all(n <= TILE * 2 for phase, n in phases if phase is Phase.PREFILL)
    between = [b - a - 1 for a, b in itertools.pairwise(pieces)]
    assert all(gap >= 1 for gap in between), "two pieces of a prompt follow each other while an answer runs"


def test_no_running_sequence_starves() -> None:
    rules = replace(RULES, decode_width=1)
    scheduler, runner = Scheduler(rules), FakeRunner(3, 640, 256)
    for i in range(3):
        scheduler.submit(sequence(f"r{i}", Ask((i + 1, 5), 200), eog=frozenset()))
    served: list[int] = []
    for _ in range(60):
        step = scheduler.schedule(runner.now)
        if step is None:
            break
        if step.phase is Phase.PREFILL:
            served.clear()
        else:
            served.append(step.chunks[0].slot)
        scheduler.commit(step, runner.execute(step))
    assert len(served) >= 6
    assert all(len(set(served[i : i + 3])) == 3 for i in range(0, len(served) - 3, 3))


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context"):
        Scheduler(RULES).submit(sequence("a", Ask(tuple(range(640)), 1)))


def _drive(scheduler: Scheduler, runner: FakeRunner, one: Sequence) -> list[Event]:
    scheduler.submit(one)
    events: list[Event] = []
    while step := scheduler.schedule(runner.now):
        events += scheduler.drain() + scheduler.commit(step, runner.execute(step))
    return events
