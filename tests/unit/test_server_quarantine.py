"""Which requests are refused, and for how long."""

from __future__ import annotations

from dataclasses import replace

from fireside_engine.core.request import ChatPrompt, Message, Request, SamplingParams
from fireside_engine.server.quarantine import Quarantine, shape_of
from fireside_engine.server.settings import Settings

SETTINGS = Settings(load_crash_limit=3, poison_window=60.0, broken_for=300.0)


def request(text: str = "x", **changes: object) -> Request:
    made = Request("a", ChatPrompt((Message("user", text),)), SamplingParams(seed=1))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_same_question_is_the_same_request_whatever_its_id_and_seed() -> None:
    assert shape_of(request()) == shape_of(request(id="b", sampling=SamplingParams(seed=2)))
    assert shape_of(request()) != shape_of(request("y"))
    assert shape_of(request()) != shape_of(request(max_tokens=1))
    assert shape_of(request()) != shape_of(request(tenant="other")), "nobody finds out what others ask"
    assert shape_of(request("\ud800"))


def test_three_deaths_in_a_minute_are_enough_for_five() -> None:
    quarantine = Quarantine(SETTINGS)
    for now in (0.0, 10.0):
        quarantine.died("poison", now)
    assert quarantine.left("poison", 10.0) == 0.0
    quarantine.died("poison", 20.0)
    assert quarantine.left("poison", 20.0) == 300.0
    assert quarantine.left("innocent", 20.0) == 0.0
    assert quarantine.left("poison", 320.0) == 0.0


def test_deaths_far_apart_are_bad_luck() -> None:
    quarantine = Quarantine(SETTINGS)
    for now in (0.0, 50.0, 100.0):
        quarantine.died("unlucky", now)
    assert quarantine.left("unlucky", 100.0) == 0.0


def test_it_forgets_the_oldest() -> None:
    quarantine = Quarantine(SETTINGS)
    for _ in range(3):
        quarantine.died("first", 0.0)
    for index in range(1024):
        quarantine.died(str(index), 0.0)
    assert quarantine.left("first", 0.0) == 0.0
