"""Autocomplete beside a chat: each keystroke reads what changed, and neither takes the other's KV."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_runner import FakeRunner, Greedy
from fireside_engine.core.events import Delta, Event, Finished, Started
from fireside_engine.core.rules import Rules
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence

RULES = Rules(n_slots=2, n_ctx=640, n_batch=256, decode_width=2)


class Desk:
    """An editor and a chat at one model."""

    def __init__(self) -> None:
        self.scheduler, self.runner = Scheduler(RULES), FakeRunner(RULES.n_slots, RULES.n_ctx, RULES.n_batch)
        self.events: list[Event] = []

    def ask(self, name: str, prompt: list[int], client: str, *, limit: int = 4, hasty: bool = True) -> None:
        self.scheduler.submit(
            Sequence(
                name, np.array(prompt, np.int32), Greedy(), lambda token: bytes([97 + token % 26]), frozenset(), limit,
                submitted=self.runner.now, client=client, hasty=hasty,
            )
        )  # fmt: skip

    def steps(self, most: int) -> None:
        for _ in range(most):
            step = self.scheduler.schedule(self.runner.now)
            if step is not None:
                self.events += self.scheduler.commit(step, self.runner.execute(step))
            self.events += self.scheduler.drain()
            if step is None:
                return

    def until(self, kind: type[Event], name: str) -> None:
        """Its prompt is read, or it has ended."""
        for _ in range(2000):
            if any(isinstance(each, kind) and each.request_id == name for each in self.events):
                return
            self.steps(1)
        raise AssertionError("it never came")

    def started(self, name: str) -> Started:
        return next(event for event in self.events if isinstance(event, Started) and event.request_id == name)

    def said(self, name: str) -> str:
        return "".join(each.text for each in self.events if isinstance(each, Delta) and each.request_id == name)


FILE, SUFFIX = list(range(1, 301)), [7, 8, 9]


@pytest.mark.parametrize("cancels", [True, False], ids=["each key cancels", "each key is answered"])
def test_each_keystroke_reads_what_changed(cancels: bool) -> None:
    desk = Desk()
    desk.ask("chat", [3, 1, 4, 1, 5] * 20, "chat", limit=500, hasty=False)
    desk.until(Delta, "chat")
    for key in range(50):
        if cancels and key:
            desk.scheduler.cancel(f"key{key - 1}")
        typed = [400 + i for i in range(key + 1)]
        desk.ask(f"key{key}", [*FILE, *typed, *SUFFIX], "editor")
        desk.until(Delta if cancels else Finished, f"key{key}")
        if key:
            read = desk.started(f"key{key}").n_prompt - desk.started(f"key{key}").n_cached
            assert read <= 1 + len(SUFFIX), "the new character and what stands behind it"
    desk.steps(2000)
    # The chat lost nothing: it was never begun again, and goes on from all of its KV.
    assert sum(isinstance(each, Started) and each.request_id == "chat" for each in desk.events) == 1
    assert len(desk.said("chat")) == 500
    slot = next(slot for slot in desk.scheduler.slots() if slot.n > 400)
    again = [int(token) for token in slot.tokens[: slot.n]]
    desk.ask("turn", [*again, 5, 6], "chat", hasty=False)
    desk.steps(50)
    assert desk.started("turn").n_cached == len(again)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 90)), min_size=1, max_size=12))
def test_edits_anywhere_say_what_a_first_run_says(edits: list[tuple[int, int]]) -> None:
    """Kept KV is that of these very tokens, wherever the text changed."""
    desk = Desk()
    prompt = list(range(1, 200))
    for number, (token, at) in enumerate(edits):
        prompt = [*prompt[: 2 * at], token, *prompt[2 * at + 1 :]]
        desk.ask(f"r{number}", prompt, "editor")
        desk.steps(100)
        fresh = Desk()
        fresh.ask("r", prompt, "editor")
        fresh.steps(100)
        assert desk.said(f"r{number}") == fresh.said("r")
    assert sum(isinstance(event, Finished) for event in desk.events) == len(edits)
