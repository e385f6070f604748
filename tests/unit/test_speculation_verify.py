"""Whatever is drafted, right or wrong, the text is that of plain decoding."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.events import Delta, Event, Failed, Finished
from fireside_engine.core.owner import Owner
from fireside_engine.core.scheduler import Rules, Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.speculation import lookup
from fireside_engine.core.speculation.speculator import Limits, Speculator
from fireside_engine.core.speculation.verify import verify
from fireside_engine.core.step import Chunk, Draw, Drawn, Phase, Result, Step
from fireside_engine.errors import InvalidConstraint

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import N_VOCAB, FakeRunner, Greedy, Prophet, logits_after

RULES = Rules(n_slots=3, n_ctx=640, n_batch=256, decode_width=3)
FLAT = {size: 1.0 + 0.02 * size for size in (1, 2, 3, 4, 5, 6, 8, 12, 16)}
"""A machine on which verifying is nearly free: drafts are always worth trying."""


class Flat(FakeRunner):
    """Its clock agrees."""

    def execute(self, step: Step) -> Result:
        result = super().execute(step)
        return replace(result, finished=result.started + 1.0)


def ended(token: int) -> bool:
    return token % 61 == 0


EOG = frozenset(filter(ended, range(N_VOCAB)))


def answers(
    prompts: list[tuple[int, ...]],
    rows: int,
    right: float,
    *,
    forces: bool = False,
    limit: int = 60,
    stops: tuple[str, ...] = (),
    cancelled: int | None = None,
    fail_at: frozenset[int] = frozenset(),
) -> tuple[list[list[Event]], FakeRunner, Scheduler]:
    """Events of each request; rows 1 is plain decoding."""
    speculator = Speculator(Limits(most_rows=rows), FLAT)
    scheduler, runner = Scheduler(RULES, speculator), Flat(3, 640, 256)
    runner.fail_at = set(fail_at)
    events: dict[str, list[Event]] = {}
    for i, prompt in enumerate(prompts):
        tokens = np.array(prompt, np.int32)
        drawer = Prophet(list(prompt), i, right=right, forces=forces)
        name = f"r{i}"
        events[name] = []
        most = min(limit, RULES.n_ctx - len(prompt))
        scheduler.submit(Sequence(name, tokens, drawer, lambda t: b"%d " % t, EOG, most, stops=stops))
    turn = 0
    while step := scheduler.schedule(runner.now):
        if step.phase is Phase.DECODE:
            assert step.n_tokens <= max(rows, RULES.decode_width)
        for event in scheduler.drain() + scheduler.commit(step, runner.execute(step)):
            events[event.request_id].append(event)
        if turn == cancelled:
            scheduler.cancel("r0")
        turn += 1
    for event in scheduler.drain():
        events[event.request_id].append(event)
    for slot in scheduler.slots():
        assert runner.kv[slot.id][: slot.n] == slot.tokens[: slot.n].tolist(), "a slot does not know what its KV holds"
        assert len(runner.kv[slot.id]) == slot.n or slot.n == 0
    return [events[f"r{i}"] for i in range(len(prompts))], runner, scheduler


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


prompts = st.lists(st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=30).map(tuple), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(prompts, st.integers(2, 32), st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.booleans(), st.integers(0, 70))
def test_drafts_never_change_the_answer(
    prompts: list[tuple[int, ...]], rows: int, right: float, forces: bool, limit: int
) -> None:
    plain, _, _ = answers(prompts, 1, right, forces=forces, limit=limit)
    drafted, _, _ = answers(prompts, rows, right, forces=forces, limit=limit)
    for one, other in zip(plain, drafted, strict=True):
        assert text(one) == text(other)
        end, other_end = one[-1], other[-1]
        assert isinstance(end, Finished)
        assert isinstance(other_end, Finished)
        assert (end.reason, end.stop_string) == (other_end.reason, other_end.stop_string)
        assert end.timings.predicted_n == other_end.timings.predicted_n


@settings(max_examples=30, deadline=None)
@given(prompts, st.lists(st.sampled_from(["1", "23", "9 1", "5"]), min_size=1, max_size=2).map(tuple))
def test_stop_strings_end_the_answer_where_they_would_without_drafts(
    prompts: list[tuple[int, ...]], stops: tuple[str, ...]
) -> None:
    plain, _, _ = answers(prompts, 1, 1.0, stops=stops)
    drafted, _, _ = answers(prompts, 16, 1.0, stops=stops)
    assert [text(events) for events in plain] == [text(events) for events in drafted]


@settings(max_examples=30, deadline=None)
@given(prompts, st.integers(0, 12), st.sets(st.integers(0, 8), max_size=2))
def test_cancellation_and_failed_batches_leave_the_others_alone(
    prompts: list[tuple[int, ...]], cancelled: int, fail_at: set[int]
) -> None:
    plain, _, _ = answers(prompts, 1, 1.0)
    drafted, _, _ = answers(prompts, 16, 0.8, cancelled=cancelled, fail_at=frozenset(fail_at))
    for i, (one, other) in enumerate(zip(plain, drafted, strict=True)):
        assert isinstance(other[-1], Finished | Failed)
        if i and isinstance(other[-1], Finished):
            assert text(one) == text(other)


def test_right_drafts_spare_steps_and_are_counted() -> None:
    _, plain, _ = answers([(1, 2, 3)], 1, 1.0)
    events, drafted, _ = answers([(1, 2, 3)], 16, 1.0)
    assert len(drafted.steps) < len(plain.steps) / 2
    end = events[0][-1]
    assert isinstance(end, Finished)
    assert end.timings.draft_n >= end.timings.draft_n_accepted > 10
    assert end.timings.draft_ms_won != 0.0
    assert [source for source, _, _ in end.timings.draft_sources] == ["grammar"]


def _twice(owner: Owner | None, other: bytes = b"") -> list[int]:
    """The same question again: steps of the first and of the second answer."""
    lookup.warm_up()
    scheduler, runner = Scheduler(RULES, Speculator(Limits(), FLAT)), Flat(3, 640, 256)
    steps = []
    for name, scope in (("a", b""), ("b", other)):
        before = len(runner.steps)
        prompt = np.arange(30, dtype=np.int32)
        sequence = Sequence(name, prompt, Greedy(), lambda t: b"%d " % t, frozenset(), 60, owner=owner, scope=scope)
        scheduler.submit(sequence)
        while step := scheduler.schedule(runner.now):
            scheduler.commit(step, runner.execute(step))
        steps.append(len(runner.steps) - before)
    return steps


def test_an_earlier_answer_helps_the_next_one() -> None:
    first, second = _twice(Owner())
    assert second < first / 2


def test_what_is_not_to_be_kept_helps_nobody() -> None:
    first, second = _twice(None)
    assert second > 0.9 * first


def test_answers_of_another_tenant_help_nobody() -> None:
    first, second = _twice(Owner(), other=b"somebody else")
    assert second > 0.9 * first


def test_padding_is_computed_and_dropped() -> None:
    class Stairs(Speculator):
        """Rows cost by eights."""

    speculator = Stairs(Limits(), {1: 1.0, 2: 4.0, 3: 4.0, 4: 4.0, 5: 4.0, 6: 4.0, 8: 1.2, 12: 8.0, 16: 2.0})
    scheduler, runner = Scheduler(RULES, speculator), FakeRunner(3, 640, 256)
    drawer = Prophet([5], 0, right=1.0)
    scheduler.submit(Sequence("r", np.array([5], np.int32), drawer, lambda t: b"%d " % t, frozenset(), 40))
    while step := scheduler.schedule(runner.now):
        scheduler.commit(step, runner.execute(step))
    sizes = {step.n_tokens for step in runner.steps if step.phase is Phase.DECODE}
    padded = [s for s in runner.steps if s.phase is Phase.DECODE and s.n_tokens > 1 + s.chunks[0].draw.drafted]
    assert sizes <= {1, 8, 10, 12, 16, 20, 24, 32}
    assert padded


def _chunk(drawer: object, tokens: list[int], drafted: int, certain: int = 0) -> Chunk:
    history = np.array([9, 9, *tokens[: 1 + drafted]], np.int32)
    draw = Draw(drawer, history, 50, drafted, certain)  # type: ignore[arg-type]
    return Chunk(0, 2, np.array(tokens, np.int32), draw)


def test_drawing_stops_at_the_first_disagreement_and_asks_no_further_logits() -> None:
    kv = [9, 9, 4]
    first = int(logits_after(kv).argmax())
    asked: list[int] = []

    def logits(row: int) -> object:
        asked.append(row)
        return logits_after([*kv, first, 0, 0][: 3 + row])

    drawn = verify(_chunk(Greedy(), [4, first, (first + 1) % N_VOCAB, 7], 3), logits)  # type: ignore[arg-type]
    assert len(drawn) == 2
    assert asked == [0, 1]


def test_what_ends_the_constraint_ends_the_draws() -> None:
    class Ends(Greedy):
        def draw(self, logits: object, position: int, history: object, remaining: int) -> Drawn:
            return replace(super().draw(logits, position, history, remaining), ended=True)

    token = int(logits_after([9, 9, 4]).argmax())
    assert len(verify(_chunk(Ends(), [4, token, 1], 2), lambda row: logits_after([9, 9, 4]))) == 1


def test_an_error_of_a_later_draw_comes_after_the_tokens_before_it() -> None:
    class Breaks(Greedy):
        def draw(self, logits: object, position: int, history: object, remaining: int) -> Drawn:
            if position == 4:
                raise InvalidConstraint("no")
            return super().draw(logits, position, history, remaining)

    token = int(logits_after([9, 9, 4]).argmax())
    drawn = verify(_chunk(Breaks(), [4, token, 1], 2), lambda row: logits_after([9, 9, 4]))
    assert isinstance(drawn[0], Drawn)
    assert isinstance(drawn[1], dict)
    assert drawn[1]["code"] == "invalid_constraint"


def test_forced_tokens_need_no_logits() -> None:
    class Forced(Greedy):
        def draw(self, logits: object, position: int, history: object, remaining: int) -> Drawn:
            return Drawn(7) if logits is None else super().draw(logits, position, history, remaining)

    asked: list[int] = []

    def logits(row: int) -> object:
        asked.append(row)
        return logits_after([row])

    drawn = verify(_chunk(Forced(), [4, 7, 7, 0], 2, certain=2), logits)  # type: ignore[arg-type]
    assert len(drawn) == 3
    assert asked == [2]


def test_a_step_without_drafts_is_one_row() -> None:
    drawn = verify(_chunk(Greedy(), [4, 4, 4], 0), lambda row: logits_after([row]))
    assert len(drawn) == 1


def test_phases_are_told_apart() -> None:
    assert Step(Phase.DRAFT, ()).n_tokens == 0
