"""The worker's loop on the fake model: threads, cancellation, errors of preparation."""

from __future__ import annotations

import errno
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fireside_engine.core.events import Delta, Event, Failed, Finished, FinishReason, Started
from fireside_engine.core.request import Request, TextPrompt
from fireside_engine.core.rules import Rules
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Result, Step
from fireside_engine.errors import InvalidRequest
from fireside_engine.worker.driver import Driver
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.pools import started_pool, typed
from fireside_engine.worker.protocol import Happened, Reply

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import FakeRunner, Greedy


class Gate:
    """A runner that waits before each step until it is let through."""

    def __init__(self) -> None:
        self.inner = FakeRunner(2, 512, 128)
        self.open = threading.Event()
        self.open.set()
        self.steps = 0

    def rest(self) -> None:
        self.inner.rest()

    def execute(self, step: Step) -> Result:
        assert self.open.wait(10)
        self.steps += 1
        return self.inner.execute(step)


class Bench:
    """A driver on its own thread, and what it says."""

    def __init__(self) -> None:
        self.runner = Gate()
        self.said: queue.Queue[Event] = queue.Queue()
        self.preparing = threading.Event()
        self.preparing.set()
        self.driver = Driver(Scheduler(Rules(2, 512, 128, 2)), self.runner, self.prepare, Outbox(self.hear))
        self.thread = threading.Thread(target=self.driver.run, daemon=True)
        self.thread.start()

    def hear(self, reply: Reply) -> None:
        assert isinstance(reply, Happened)
        self.said.put(reply.event)

    def prepare(self, request: Request) -> Sequence:
        assert isinstance(request.prompt, TextPrompt)
        if request.prompt.text == "slow":
            assert self.preparing.wait(10)
        match request.prompt.text:
            case "refused":
                raise InvalidRequest("No.")
            case "broken":
                raise ZeroDivisionError
            case "no thread":
                raise RuntimeError("can't start new thread")
            case "no memory":
                raise MemoryError
            case "no process":
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
        prompt = np.frombuffer(request.prompt.text.encode(), np.uint8).astype(np.int32)
        limit = request.max_tokens or 10
        return Sequence(request.id, prompt, Greedy(), lambda token: b"%d " % token, frozenset(), limit)

    def until_end(self, request_id: str) -> list[Event]:
        events = []
        while True:
            event = self.said.get(timeout=10)
            if event.request_id == request_id:
                events.append(event)
                if isinstance(event, Finished | Failed):
                    return events


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.open.set()
    bench.preparing.set()
    bench.driver.close()
    bench.thread.join(10)
    assert not bench.thread.is_alive()


def test_an_answer_arrives_in_order(bench: Bench) -> None:
    bench.driver.submit(Request("a", TextPrompt("hello"), max_tokens=5))
    events = bench.until_end("a")
    assert isinstance(events[0], Started)
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.LENGTH
    assert len("".join(e.text for e in events if isinstance(e, Delta)).split()) == 5


@pytest.mark.parametrize(("text", "code"), [("refused", "invalid_request"), ("broken", "internal_error")])
def test_what_cannot_be_prepared_fails_alone(bench: Bench, text: str, code: str) -> None:
    bench.driver.submit(Request("bad", TextPrompt(text)))
    end = bench.until_end("bad")[-1]
    assert isinstance(end, Failed)
    assert end.error["code"] == code
    bench.driver.submit(Request("good", TextPrompt("x"), max_tokens=2))
    assert isinstance(bench.until_end("good")[-1], Finished)


def test_cancelled_while_being_prepared_it_is_never_computed(bench: Bench) -> None:
    bench.preparing.clear()
    bench.driver.submit(Request("a", TextPrompt("slow")))
    assert bench.driver.beat().waiting == 1
    bench.driver.cancel("a")
    bench.preparing.set()
    end = bench.until_end("a")[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.CANCELLED
    assert bench.runner.steps == 0


def test_cancelled_while_running_the_slot_is_free_after_the_step(bench: Bench) -> None:
    bench.runner.open.clear()
    bench.driver.submit(Request("a", TextPrompt("hello"), max_tokens=400))
    while not isinstance(bench.said.get(timeout=10), Started):
        pass
    bench.driver.cancel("a")
    bench.runner.open.set()
    end = bench.until_end("a")[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.CANCELLED
    assert bench.runner.steps <= 2
    assert bench.driver.beat().active == 0


def test_a_slow_preparation_holds_up_nobody(bench: Bench) -> None:
    bench.preparing.clear()
    bench.driver.submit(Request("slow", TextPrompt("slow"), max_tokens=2))
    bench.driver.submit(Request("quick", TextPrompt("hi"), max_tokens=2))
    assert isinstance(bench.until_end("quick")[-1], Finished)
    bench.preparing.set()
    assert isinstance(bench.until_end("slow")[-1], Finished)


def test_cancelling_what_is_not_there_is_harmless(bench: Bench) -> None:
    bench.driver.cancel("nobody")
    bench.driver.submit(Request("a", TextPrompt("x"), max_tokens=1))
    assert isinstance(bench.until_end("a")[-1], Finished)


def test_memory_that_runs_out_while_preparing_is_an_error_in_words(bench: Bench) -> None:
    """A thread or a buffer for which there is no memory is the machine's fault, and is told as that."""
    for text in ("no thread", "no memory", "no process"):
        bench.driver.submit(Request(text, TextPrompt(text)))
        (failed,) = bench.until_end(text)
        assert isinstance(failed, Failed)
        assert failed.error["code"] == "insufficient_memory"
        assert "no memory left" in failed.error["message"]
        assert "shorter context" in failed.error["hint"]


def test_threads_are_there_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one cannot be started, the load fails, which may be tried again with less."""
    pool = started_pool(3, "early")
    assert sum(thread.name.startswith("early") for thread in threading.enumerate()) == 3
    pool.shutdown()

    class Refused(threading.Thread):
        started = 0

        def start(self) -> None:
            if Refused.started:
                raise RuntimeError("can't start new thread")
            Refused.started += 1
            super().start()

    monkeypatch.setattr(threading, "Thread", Refused)
    with pytest.raises(RuntimeError) as found:
        started_pool(3, "late")
    assert typed(found.value, "It failed").code == "insufficient_memory"
    assert typed(RuntimeError("else"), "It failed").code == "internal_error"
