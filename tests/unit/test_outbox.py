"""The outbox joins text, and changes nothing else."""

from __future__ import annotations

import queue
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.events import Delta, Event, Finished, FinishReason, Progress, Timings, TokenLogprob
from fireside_engine.worker.outbox import Outbox, joined
from fireside_engine.worker.protocol import Beat, Happened, Reply

names = st.sampled_from("abc")
events = (
    st.builds(Delta, names, st.text(max_size=3), st.integers(1, 3), st.just((TokenLogprob(1, b"x", -0.5),)))
    | st.builds(Progress, names, st.integers(0, 9), st.just(9), st.just(0), st.just(1.0))
    | st.builds(Finished, names, st.just(FinishReason.STOP), st.just(1), st.just(Timings()))
)


def told(replies: list[Reply]) -> dict[str, list[object]]:
    """What each request hears, text as one string between other events."""
    heard: dict[str, list[object]] = defaultdict(list)
    for reply in replies:
        if isinstance(reply, Happened):
            event: Event = reply.event
            before = heard[event.request_id]
            if not isinstance(event, Delta):
                before.append(event)
            elif before and isinstance(before[-1], tuple):
                text, n, logprobs = before[-1]
                before[-1] = (text + event.text, n + event.n_tokens, logprobs + event.logprobs)
            else:
                before.append((event.text, event.n_tokens, event.logprobs))
    return heard


@given(st.lists(st.builds(Happened, events) | st.just(Beat(0.0, 1, 0)), max_size=30))
def test_every_request_hears_the_same(replies: list[Reply]) -> None:
    after = joined(replies)
    assert told(after) == told(replies)
    assert len(after) <= len(replies)


def test_text_is_joined_and_an_end_does_not_wait() -> None:
    written: queue.Queue[Reply] = queue.Queue()
    outbox = Outbox(written.put, pause=30.0)
    sent = [Delta("a", "one "), Delta("a", "two "), Delta("b", "x"), Delta("a", "three")]
    for event in sent:
        outbox.send(Happened(event))
    outbox.send(Happened(Finished("a", FinishReason.STOP, 3, Timings())))
    got: list[Reply] = []
    while not (got and isinstance(got[-1], Happened) and isinstance(got[-1].event, Finished)):
        got.append(written.get(timeout=10))
    assert told(got)["a"][0] == ("one two three", 3, ())
    assert told(got)["b"] == [("x", 1, ())]


def test_the_first_text_after_a_silence_leaves_at_once() -> None:
    written: queue.Queue[Reply] = queue.Queue()
    outbox = Outbox(written.put, pause=0.01)
    outbox.send(Happened(Delta("a", "one")))
    first = written.get(timeout=10)
    assert first == Happened(Delta("a", "one"))


def test_the_first_text_does_not_wait_behind_the_end_of_its_prompt() -> None:
    """It used to: the end of prefill is told just before it, and text waited for the pause after that."""
    written: queue.Queue[Reply] = queue.Queue()
    outbox = Outbox(written.put, pause=30.0)
    outbox.send(Happened(Progress("b", 9, 9, 0, 1.0)))
    assert written.get(timeout=10)
    outbox.send(Happened(Delta("b", "first")))
    first = written.get(timeout=10)
    assert isinstance(first, Happened)
    assert isinstance(first.event, Delta)
