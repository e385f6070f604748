"""A client that asks for much does not keep another one from being served."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fake_runner import FakeRunner, Greedy
from fireside_engine.core.events import Delta, Event, Finished, Started
from fireside_engine.core.fairness import GREED, LATELY, FairQueue, may_enter
from fireside_engine.core.rules import Rules
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.slot import Slot

RULES = Rules(n_slots=3, n_ctx=640, n_batch=256, decode_width=3)


def sequence(name: str, client: str, *, submitted: float = 0.0, prompt: int = 5, limit: int = 5) -> Sequence:
    tokens = np.array([1 + hash(name) % 7, *range(1, prompt)], np.int32)
    return Sequence(name, tokens, Greedy(), lambda _token: b"x", frozenset(), limit, submitted=submitted, client=client)


class Served:
    """A scheduler with a model, and who was served when."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.scheduler, self.runner = Scheduler(rules), FakeRunner(rules.n_slots, rules.n_ctx, rules.n_batch)
        self.events: list[Event] = []

    def submit(self, *sequences: Sequence) -> None:
        for each in sequences:
            self.scheduler.submit(each)

    def step(self) -> bool:
        step = self.scheduler.schedule(self.runner.now)
        if step is not None:
            self.events += self.scheduler.commit(step, self.runner.execute(step))
        self.events += self.scheduler.drain()
        return step is not None

    def run(self) -> Served:
        while self.step():
            pass
        return self

    def named(self, kind: type[Event]) -> list[str]:
        return [event.request_id for event in self.events if isinstance(event, kind)]


def test_one_request_does_not_wait_for_thirty_of_somebody_else() -> None:
    served = Served(replace(RULES, n_slots=1))
    served.submit(*(sequence(f"flood{i}", "flood") for i in range(30)))
    for _ in range(8):
        served.step()
    served.submit(sequence("mine", "me"))
    ended = served.run().named(Finished)
    assert ended.index("mine") <= 3
    assert len(ended) == 31


def test_the_last_slot_is_kept_for_who_was_here_lately() -> None:
    served = Served()
    served.submit(sequence("hello", "me"))
    served.run()
    served.submit(*(sequence(f"flood{i}", "flood", limit=400) for i in range(5)))
    served.step()
    assert served.scheduler.n_active == 2
    served.submit(sequence("mine", "me"))
    served.step()
    assert served.scheduler.n_active == 3
    assert "mine" in served.named(Started)
    # Alone, or long after, it may have them all.
    served.run()
    served.runner.now += 2 * LATELY
    served.submit(*(sequence(f"more{i}", "flood", limit=50) for i in range(5)))
    served.step()
    assert served.scheduler.n_active == 3


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=25),
    st.integers(1, 3),
)
def test_everybody_is_served_and_each_client_in_its_own_order(asks: list[tuple[str, int, int]], n_slots: int) -> None:
    served = Served(replace(RULES, n_slots=n_slots))
    served.submit(*(sequence(f"{i:02}{c}", c, prompt=prompt, limit=limit) for i, (c, prompt, limit) in enumerate(asks)))
    started = served.run().named(Started)
    assert sorted(started) == [f"{i:02}{c}" for i, (c, _, _) in enumerate(asks)]
    assert sorted(served.named(Finished)) == sorted(started)


@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=60), st.floats(0.01, 2.0), st.floats(0.01, 2.0))
def test_two_clients_that_both_wait_are_given_the_same(order: list[str], dear: float, cheap: float) -> None:
    """However many each has waiting, and whatever their requests cost."""
    queue, slots = FairQueue(), [Slot(0, 8)]
    for i, client in enumerate(order):
        queue.add(sequence(str(i), client), slots)
    given_to: Counter[str] = Counter()
    cost = {"a": dear, "b": cheap}
    while {each.client for each in queue} == {"a", "b"}:
        chosen = queue.next(slots, 0.0)
        assert chosen is not None
        first = next(each for each in queue if each.client == chosen.client)
        assert chosen is first, "first come first served, within a client"
        queue.remove(chosen)
        queue.charge(chosen.client, cost[chosen.client], 0.0)
        given_to[chosen.client] += cost[chosen.client]  # type: ignore[assignment]
        assert abs(given_to["a"] - given_to["b"]) <= max(cost.values()) + 1e-9


def test_nobody_saves_up_a_claim() -> None:
    queue, slots = FairQueue(), [Slot(0, 8)]
    for i in range(4):
        queue.add(sequence(f"a{i}", "a"), slots)
    queue.charge("a", 100.0, 0.0)
    for i in range(4):
        queue.add(sequence(f"b{i}", "b"), slots)
    order = []
    while (chosen := queue.next(slots, 0.0)) is not None:
        queue.remove(chosen)
        queue.charge(chosen.client, 1.0, 0.0)
        order.append(chosen.client)
    assert order[:6].count("b") == 3, "in turn from the first on, not a hundred in advance"


def test_any_number_of_names_takes_no_memory() -> None:
    queue, slots = FairQueue(), [Slot(0, 8)]
    queue.add(sequence("mine", "me"), slots)
    for i in range(5000):
        one = sequence(str(i), f"client{i}")
        queue.add(one, slots)
        queue.charge(one.client, 1.0, 0.0)
        queue.remove(one)
    assert len(queue._seen) <= 300
    assert len(queue._given) <= 300


def test_a_request_is_held_and_goes_on_where_it_was() -> None:
    whole = Served()
    whole.submit(sequence("one", "me", limit=30), sequence("two", "me", limit=30))
    whole.run()
    served = Served()
    served.submit(sequence("one", "me", limit=30), sequence("two", "me", limit=30))
    for _ in range(8):
        served.step()
    served.scheduler.hold("one", held=True)
    served.run()
    assert served.named(Finished) == ["two"]
    assert served.scheduler.is_idle
    assert served.scheduler.n_active == 1
    served.scheduler.hold("one", held=False)
    served.run()
    assert sorted(served.named(Finished)) == ["one", "two"]
    for name in ("one", "two"):
        texts = [
            "".join(event.text for event in each.events if isinstance(event, Delta) and event.request_id == name)
            for each in (whole, served)
        ]
        assert texts[0] == texts[1]


def test_what_is_held_can_be_cancelled_and_what_waits_can_be_held() -> None:
    served = Served(replace(RULES, n_slots=1))
    served.submit(sequence("one", "me", limit=30), sequence("two", "me", limit=3))
    served.scheduler.hold("one", held=True)
    served.run()
    assert len(served.named(Delta)) == 1, "the token that comes with the end of the prompt"
    served.scheduler.cancel("one")
    served.run()
    assert served.named(Finished) == ["one", "two"]


@given(st.integers(1, 60), st.integers(1, 5))
def test_some_room_is_left_whoever_comes(room: int, n_clients: int) -> None:
    """Clients that bring as much as they may, in turn, leave a place for one more, where there is room for all."""
    own = [0] * n_clients
    moved = True
    while moved:
        moved = False
        for i in range(n_clients):
            if may_enter(own[i], sum(own), 1, room):
                own[i] += 1
                moved = True
    assert sum(own) <= room
    assert max(own) - min(own) <= GREED
    if room > GREED * n_clients * (n_clients + 1):
        assert may_enter(0, sum(own), 1, room)
