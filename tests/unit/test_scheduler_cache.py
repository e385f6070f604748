"""KV that is kept, copied, saved and brought back: it changes how much is computed and never what is said."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.events import Delta, Event, Failed, Finished, FinishReason, Started
from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer
from fireside_engine.core.rules import Rules, Trimming
from fireside_engine.core.saving import Saves
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.window import TILE, last_cut

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import FakeRunner, Greedy, next_token

RULES = Rules(n_slots=2, n_ctx=2048, n_batch=256, decode_width=2, copies=True, saves=Saves(enabled=True, interval=256))


def checkpointed(rules: Rules, *, generated: bool = True) -> Rules:
    saves = replace(rules.saves, checkpoints=True, generated=generated)
    return replace(rules, trimming=Trimming.NEVER, saves=saves, reuse_generated=generated)


def deterministic(rules: Rules) -> Rules:
    return replace(rules, n_batch=TILE, reuse_generated=False, saves=replace(rules.saves, generated=False))


def answer(prompt: list[int], limit: int) -> list[int]:
    kv = list(prompt)
    for _ in range(limit):
        kv.append(next_token(kv))
    return kv[len(prompt) :]


@dataclass
class Engine:
    """A scheduler and a fake model; the disk outlives them."""

    rules: Rules = RULES
    disk: dict[bytes, list[tuple[list[int], int, bool]]] = field(default_factory=dict)
    corrupt: bool = False
    unreadable: bool = False
    seconds_per_token: float = 0.0
    readable: int = 10**9
    """Tokens up to the first bad block."""

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As after a restart: nothing in memory."""
        self.scheduler = Scheduler(self.rules)
        self.runner = FakeRunner(self.rules.n_slots, self.rules.n_ctx, max(self.rules.n_batch, TILE + 16))
        self.runner.cuttable = self.rules.trimming is Trimming.ANYWHERE
        self.runner.disk = self.disk
        self.events: dict[str, list[Event]] = {}
        self.late: list[Fetch] = []

    def submit(
        self, name: str, prompt: list[int], limit: int = 8, *, scope: bytes = b"", owner: str | None = ""
    ) -> None:
        sequence = Sequence(
            name,
            np.array(prompt, np.int32),
            Greedy(),
            lambda token: f"<{token}>".encode(),
            frozenset(),
            limit,
            scope=scope,
            owner=None if owner is None else Owner(conversation=owner),
            offer=self._offer(scope, prompt),
        )
        self.events[name] = []
        self.scheduler.submit(sequence)

    def _offer(self, scope: bytes, prompt: list[int]) -> Offer | None:
        offer = self.runner.offer(scope, prompt, checkpoints=self.rules.saves.checkpoints)
        return replace(offer, seconds_per_token=self.seconds_per_token) if offer is not None else None

    def turn(self, *, disk: bool = True) -> bool:
        """One step; False when nothing is left to do. `disk` False: the disk takes its time."""
        idle = self.scheduler.is_idle
        step = self.scheduler.schedule(self.runner.now)
        assert self.scheduler.is_idle if step is None else not idle
        self.late += self.scheduler.fetches()
        if disk:
            for fetch in self.late:
                payload = "corrupt" if self.corrupt else list(fetch.offer.handle)
                if self.unreadable:
                    self.scheduler.fetched(fetch.request_id, None)
                else:
                    self.scheduler.fetched(fetch.request_id, payload, min(fetch.n, self.readable))
            fetched, self.late = bool(self.late), []
        else:
            fetched = False
        happened = self.scheduler.drain()
        if step is not None:
            happened += self.scheduler.commit(step, self.runner.execute(step))
        for event in happened:
            self.events[event.request_id].append(event)
        return step is not None or fetched

    def settle(self) -> None:
        for _ in range(20_000):
            if not self.turn():
                assert self.scheduler.n_active == self.scheduler.n_waiting == 0
                return
        raise AssertionError("no end")

    def ask(self, prompt: list[int], limit: int = 8, *, scope: bytes = b"", owner: str | None = "") -> Finished:
        name = f"r{len(self.events)}"
        self.submit(name, prompt, limit, scope=scope, owner=owner)
        self.settle()
        return self.check(name, prompt, limit)

    def check(self, name: str, prompt: list[int], limit: int) -> Finished:
        events = self.events[name]
        end = events[-1]
        assert isinstance(end, Finished)
        text = "".join(event.text for event in events if isinstance(event, Delta))
        assert text == "".join(f"<{token}>" for token in answer(prompt, limit))
        assert end.timings.cache_n + end.timings.prompt_n == len(prompt)
        assert end.timings.cache_disk_n <= end.timings.cache_n < len(prompt)
        return end


def words(n: int, seed: int = 0) -> list[int]:
    return [int(x) for x in np.random.default_rng(seed).integers(0, 1000, n)]


def test_a_conversation_goes_on_after_a_restart() -> None:
    engine = Engine()
    prompt = words(700)
    engine.ask(prompt, 40)
    longer = prompt + answer(prompt, 40) + words(20, 1)
    engine.start()
    end = engine.ask(longer)
    # The token drawn last was never computed.
    assert end.timings.cache_n == end.timings.cache_disk_n == 739
    assert engine.runner.n_computed == len(longer) - 739 + 7


def test_it_goes_on_from_memory_without_a_restart() -> None:
    engine = Engine()
    prompt = words(700)
    engine.ask(prompt, 40)
    end = engine.ask(prompt + answer(prompt, 40) + words(20, 1))
    assert (end.timings.cache_n, end.timings.cache_disk_n) == (739, 0)


def test_a_long_prefill_is_saved_as_it_goes() -> None:
    engine = Engine()
    prompt = words(1900)
    engine.submit("first", prompt)
    while sum(len(step.chunks and step.chunks[0].tokens) for step in engine.runner.steps) < 1600:
        engine.turn()
    engine.start()  # killed
    end = engine.ask(prompt)
    assert end.timings.cache_disk_n >= 1280


@pytest.mark.parametrize("rules", [RULES, checkpointed(RULES), deterministic(RULES)])
def test_what_was_not_to_be_saved_is_not(rules: Rules) -> None:
    engine = Engine(rules)
    engine.ask(words(700), 40, owner=None)
    assert engine.disk == {}


@pytest.mark.parametrize("rules", [RULES, checkpointed(RULES)])
def test_tenants_share_neither_memory_nor_disk(rules: Rules) -> None:
    engine = Engine(rules)
    prompt = words(900)
    engine.ask(prompt, scope=b"a")
    assert engine.ask(prompt, scope=b"b").timings.cache_n == 0
    engine.start()
    assert engine.ask(prompt, scope=b"c").timings.cache_n == 0
    assert engine.ask(prompt, scope=b"a").timings.cache_n > 0


@pytest.mark.parametrize("trouble", ["corrupt", "unreadable"])
@pytest.mark.parametrize("rules", [RULES, checkpointed(RULES)])
def test_a_disk_that_fails_costs_time_only(rules: Rules, trouble: str) -> None:
    engine = Engine(rules)
    prompt = words(700)
    engine.ask(prompt, 40)
    engine.start()
    setattr(engine, trouble, True)
    end = engine.ask(prompt + answer(prompt, 40) + words(20, 1))
    assert end.timings.cache_disk_n == 0


def test_what_comes_before_a_bad_block_is_of_use() -> None:
    engine = Engine()
    prompt = words(900)
    engine.ask(prompt, 40)
    engine.start()
    engine.readable = 512
    end = engine.ask(prompt + answer(prompt, 40) + words(20, 1))
    assert end.timings.cache_disk_n == 512


def test_a_slot_lends_its_prefix_to_another_conversation() -> None:
    engine = Engine()
    shared = words(1000)
    first, second = shared + words(300, 1), shared + words(200, 2)
    engine.ask(first, owner="a")
    engine.start()
    engine.ask(first, owner="a")
    engine.disk.clear()
    end = engine.ask(second, owner="b")
    assert (end.timings.cache_n, end.timings.cache_disk_n) == (1000 // TILE * TILE, 0)
    assert any(step.copies for step in engine.runner.steps)
    # The lender keeps everything.
    assert engine.ask(first + answer(first, 8) + words(9), owner="a").timings.cache_n == len(first) + 7


def test_several_answers_to_one_prompt_read_it_once() -> None:
    engine = Engine(replace(RULES, n_slots=4, decode_width=4))
    prompt = words(1000)
    for i in range(4):
        engine.submit(f"r{i}", prompt, 6)
    engine.submit("other", words(100, 9), 6)
    engine.settle()
    for i in range(4):
        engine.check(f"r{i}", prompt, 6)
    assert engine.runner.n_computed < 1000 + 3 * (TILE + 16) + 100 + 5 * 6
    # Who shares nothing does not wait for those who do.
    order = [chunk.slot for step in engine.runner.steps for chunk in step.chunks]
    assert len(set(order)) == 4


def test_a_disk_slower_than_computing_is_left_alone() -> None:
    engine = Engine()
    prompt = words(900)
    engine.ask(prompt)
    engine.start()
    engine.ask(words(300, 8))
    assert engine.scheduler._prefill_rate > 0
    engine.seconds_per_token = 2.0 / engine.scheduler._prefill_rate
    assert engine.ask(prompt).timings.cache_disk_n == 0
    engine.start()
    engine.ask(words(300, 7))
    engine.seconds_per_token = 0.1 / engine.scheduler._prefill_rate
    assert engine.ask(prompt).timings.cache_disk_n > 0


def test_the_reason_shows_where_a_prompt_leaves_what_is_known() -> None:
    engine = Engine()
    prompt = words(900)
    engine.ask(prompt)
    edited = [*prompt[:500], 7, *prompt[501:]]
    end = engine.ask(edited)
    assert end.timings.cache_n == 500 // TILE * TILE
    assert "at token 500: “<7>" in end.timings.cache_reason
    assert f"“<{prompt[500]}>” was" in end.timings.cache_reason
    engine.start()
    assert "at token 500" in engine.ask([*prompt[:500], 9, *prompt[501:]]).timings.cache_reason
    # Nothing is to be said of a prompt that goes on, or that is new altogether.
    assert engine.ask(prompt + answer(prompt, 8) + words(90, 3)).timings.cache_reason == ""
    assert engine.ask(words(300, 9)).timings.cache_reason == ""


def test_generated_tokens_settle_while_nothing_else_is_to_do() -> None:
    """In `deterministic`, KV of generated tokens is no part of a prompt: it is computed again, in tiles, when idle."""
    engine = Engine(deterministic(RULES))
    prompt = words(200)
    engine.ask(prompt, 300)
    longer = prompt + answer(prompt, 300) + words(20, 1)
    end = engine.ask(longer)
    assert end.timings.cache_n == 499 // TILE * TILE
    engine.start()
    assert engine.ask(longer).timings.cache_disk_n == min(499 // TILE * TILE, last_cut(len(longer)))


def test_a_request_goes_before_settling() -> None:
    engine = Engine(deterministic(RULES))
    prompt = words(200)
    engine.submit("first", prompt, 300)
    while not any(isinstance(event, Finished) for event in engine.events["first"]):
        engine.turn()
    engine.turn()
    other = words(100, 5)
    engine.submit("second", other, 4)
    before = len(engine.runner.steps)
    while not any(isinstance(event, Finished) for event in engine.events["second"]):
        engine.turn()
    computed = {chunk.slot for step in engine.runner.steps[before:] for chunk in step.chunks}
    assert len(computed) == 1
    engine.settle()
    assert engine.ask(prompt + answer(prompt, 300) + words(9)).timings.cache_n == 499 // TILE * TILE


def test_memory_that_cannot_be_cut_resumes_at_checkpoints() -> None:
    engine = Engine(checkpointed(RULES))
    prompt = words(900)
    engine.ask(prompt, 40)
    engine.start()
    longer = prompt + answer(prompt, 40) + words(20, 1)
    assert engine.ask(longer).timings.cache_disk_n == 939
    engine.start()
    # The same prompt again: the answer's KV is of no use, the checkpoint before the last piece is.
    assert engine.ask(prompt).timings.cache_disk_n == last_cut(900)
    engine.start()
    edited = [*prompt[:600], 7, *prompt[601:]]
    assert engine.ask(edited).timings.cache_disk_n == 512


def test_forgetting_reaches_what_is_in_memory() -> None:
    engine = Engine()
    prompt = words(700)
    engine.ask(prompt, owner="a")
    engine.disk.clear()
    engine.scheduler.forget(Owner(conversation="b"))
    assert engine.ask(prompt, owner="a").timings.cache_n > 0
    engine.scheduler.forget(Owner(conversation="a"))
    engine.disk.clear()
    assert engine.ask(prompt, owner="a").timings.cache_n == 0
    # And it is saved anew.
    assert engine.disk


def test_an_answer_whose_conversation_is_deleted_meanwhile_is_not_saved() -> None:
    engine = Engine()
    engine.submit("r0", words(700), 300, owner="a")
    for _ in range(8):
        engine.turn()
    engine.scheduler.forget(Owner(conversation="a"))
    engine.disk.clear()
    engine.settle()
    assert not engine.disk
    engine.check("r0", words(700), 300)


def test_what_was_not_taken_over_is_offered_again() -> None:
    engine = Engine()
    engine.runner.keeps = False
    prompt = words(700)
    engine.submit("r0", prompt, 300)
    for _ in range(8):
        engine.turn()
    engine.runner.keeps = True
    engine.settle()
    assert max(len(kv) for kv, _, _ in engine.disk[b""]) == 999


@dataclass(frozen=True)
class Talk:
    """A turn of one of a few conversations, which share beginnings."""

    conversation: int
    new: int
    limit: int
    save: bool
    arrives: int
    cancelled: int | None
    edit: int | None


talks = st.builds(
    Talk,
    st.integers(0, 3),
    st.integers(1, 330),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 12),
    st.none() | st.integers(0, 8),
    st.none() | st.integers(0, 400),
)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.lists(talks, min_size=1, max_size=5), min_size=1, max_size=4),
    st.sampled_from([RULES, checkpointed(RULES), deterministic(RULES), replace(RULES, copies=False)]),
    st.integers(1, 3),
    st.sampled_from(["", "corrupt", "unreadable"]),
    st.lists(st.booleans(), max_size=40),
    st.sets(st.integers(0, 60), max_size=2),
    st.sets(st.integers(0, 60), max_size=3),
)
def test_whatever_is_kept_the_answers_are_those_of_a_cold_model(
    lives: list[list[Talk]],
    rules: Rules,
    n_slots: int,
    trouble: str,
    disk: list[bool],
    fail_at: set[int],
    refuse_at: set[int],
) -> None:
    engine = Engine(replace(rules, n_slots=n_slots))
    histories = {i: words(300 + 60 * (i % 2), seed=i % 2) for i in range(4)}
    slow = iter(disk)
    for talks_ in lives:
        engine.start()
        engine.runner.fail_at, engine.runner.refuse_at = fail_at, refuse_at
        engine.corrupt, engine.unreadable = trouble == "corrupt", trouble == "unreadable"
        asked: dict[str, tuple[list[int], int, int]] = {}
        for turn in range(200):
            for i, talk in enumerate(talks_):
                if talk.arrives == turn:
                    history = list(histories[talk.conversation])
                    if talk.edit is not None:
                        history[talk.edit % len(history)] = 1
                    prompt = (history + words(talk.new, seed=i))[-1900:]
                    owner = str(talk.conversation) if talk.save else None
                    scope = b"x" if talk.conversation == 3 else b""
                    engine.submit(f"r{i}", prompt, talk.limit, scope=scope, owner=owner)
                    asked[f"r{i}"] = (prompt, talk.limit, talk.conversation)
                if talk.cancelled is not None and talk.arrives + talk.cancelled == turn:
                    engine.scheduler.cancel(f"r{i}")
            engine.turn(disk=next(slow, True))
        engine.settle()
        for name, (prompt, limit, conversation) in asked.items():
            end = engine.events[name][-1]
            assert isinstance(end, Finished | Failed)
            assert sum(isinstance(event, Started) for event in engine.events[name]) <= 1
            if isinstance(end, Finished) and end.reason is not FinishReason.CANCELLED:
                # A step that fails costs the requests in it an error, and nobody a wrong word.
                engine.check(name, prompt, limit)
                histories[conversation] = (prompt + answer(prompt, limit))[:1400]
    for scope, entries in engine.disk.items():
        for kv, prefilled, _ in entries:
            assert prefilled <= len(kv)
            assert scope in (b"", b"x")


def test_saving_costs_strides_not_blocks_in_a_long_conversation() -> None:
    rules = replace(RULES, n_ctx=16384)
    engine = Engine(rules)
    engine.ask(words(12_000), 4)
    stops = [len(kv) for kv, _, _ in engine.disk[b""]]
    copied = sum(stops)
    assert len(stops) == len(set(stops))
    assert copied < 17 * 12_000
    assert stops[0] == BLOCK
