"""The draft model's life in a worker: its KV outlives the process, its memory is given back, and it may return."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fireside_engine.core.events import Delta, Event, Failed, Finished
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import ChatPrompt, Message, Request, SamplingParams
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.slot import Slot
from fireside_engine.core.speculation.drafting import ModelDrafting, Outlook
from fireside_engine.core.speculation.speculator import Plan, Proposal, Speculator
from fireside_engine.core.speculation.tenure import FIRST_ABSENCE
from fireside_engine.hardware import memory
from fireside_engine.llama.drafter import Drafter
from fireside_engine.worker.companion import draft_side
from fireside_engine.worker.driver import Driver
from fireside_engine.worker.loading import load
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.protocol import Drafting, Happened, LoadOptions, Reply
from tiny_models import write_llama

WORDS = "the river ran under an old bridge and the water was cold in winter while people slept "


class Patient(ModelDrafting):
    """Neither drafts by itself nor gives up: so small a model is hardly smaller than its target."""

    def look(self, *_: object) -> Outlook | None:
        return None


class Asking(Speculator):
    """Asks the draft model for one token at every step, whatever it costs."""

    def plan(self, running: list[Slot], width: int) -> Plan:  # type: ignore[override]
        plan = super().plan(running, width)
        tracker = self._trackers.get(running[0].id)
        if self.model is not None and not self.model.useless and tracker and tracker.from_model is None:
            self._lag(running[0], running[0].sequence)  # type: ignore[arg-type]
            plan.proposal = Proposal(running[0], 1)
        return plan


class Life:
    """A worker's inside with a draft model, from load to end."""

    def __init__(self, path: Path, draft: Path) -> None:
        options = LoadOptions(n_ctx=2048, n_slots=1, draft=str(draft))
        self.ready = load(path, options, lambda stage, fraction: None)
        self.told: queue.Queue[Drafting] = queue.Queue()
        self.said: queue.Queue[Event] = queue.Queue()
        self.side = draft_side(self.ready, self.told.put)
        self.speculator = Asking(self.ready.speculator.limits, {1: 0.01})
        self.scheduler = Scheduler(self.ready.rules, self.speculator)
        self.speculator.model = Patient(0.05)
        outbox = Outbox(self._hear)
        self.driver = Driver(
            self.scheduler, self.side.runner, self.ready.preparer.prepare, outbox, self.side.cache,
            companion=self.side.companion,
        )  # fmt: skip
        self.read = 0
        """Tokens that the draft model computed."""
        self._count(self.drafter)
        self.thread = threading.Thread(target=self.driver.run)
        self.thread.start()
        self._n = 0

    @property
    def drafter(self) -> Drafter:
        drafter = self.side.runner.drafter
        assert drafter is not None
        return drafter

    def _count(self, drafter: Drafter) -> None:
        compute = drafter._compute

        def counted(tokens: np.ndarray) -> int:
            self.read += len(tokens)
            return compute(tokens)

        drafter._compute = counted  # type: ignore[method-assign]

    def _hear(self, reply: Reply) -> None:
        assert isinstance(reply, Happened)
        self.said.put(reply.event)

    def ask(self, messages: list[Message], *, n: int = 8) -> tuple[str, Finished]:
        self._n += 1
        prompt, params = ChatPrompt(tuple(messages)), SamplingParams(temperature=0)
        self.driver.submit(Request(f"r{self._n}", prompt, params, max_tokens=n, conversation="c", save=True))
        text = ""
        while True:
            event = self.said.get(timeout=60)
            assert not isinstance(event, Failed), event
            if isinstance(event, Delta):
                text += event.text
            if isinstance(event, Finished):
                return text, event

    def do(self, action: Callable[[], None]) -> None:
        """On the thread that decodes."""
        done = threading.Event()
        self.driver._post(lambda: (action(), done.set()))  # type: ignore[arg-type, func-returns-value]
        assert done.wait(30)

    def close(self) -> None:
        idle = threading.Event()

        def look() -> None:
            if self.scheduler.is_idle:
                idle.set()
            else:
                self.driver._post(look)

        self.driver._post(look)
        assert idle.wait(60)
        self.driver.close()
        self.thread.join(60)
        assert self.ready.keeper is not None
        assert self.ready.keeper.close(30)
        if self.side.runner.drafter is not None:
            self.side.runner.drafter.close()
        self.ready.close()


Start = Callable[[Path, Path], Life]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("FIRESIDE_HOME", str(tmp_path / "home"))
    lives: list[Life] = []

    def make(path: Path, draft: Path) -> Life:
        lives.append(Life(path, draft))
        return lives[-1]

    yield make
    for life in lives:
        if life.thread.is_alive():
            life.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return write_llama(folder / "large.gguf", layers=3), write_llama(folder / "small.gguf", layers=1)


def first_turns() -> list[Message]:
    return [Message("system", "You are brief. " + WORDS * 30), Message("user", WORDS * 20 + "Why?")]


def test_after_a_restart_the_draft_model_reads_new_tokens_only(start: Start, pair: tuple[Path, Path]) -> None:
    life = start(*pair)
    text, first = life.ask(first_turns())
    assert life.read >= first.n_prompt > 600
    life.close()

    messages = [*first_turns(), Message("assistant", text), Message("user", "And now?")]
    again = start(*pair)
    _, end = again.ask(messages)
    assert end.timings.cache_disk_n >= first.n_prompt - 64
    # What the target computed itself, its answer, and little more.
    assert 0 < again.read <= end.n_prompt - end.timings.cache_n + 3 * end.timings.predicted_n
    again.close()


def test_kv_of_the_draft_model_that_was_deleted_does_not_come_back(start: Start, pair: tuple[Path, Path]) -> None:
    life = start(*pair)
    life.ask(first_turns())
    life.driver.forget(Owner("", "c"), drop=True)
    life.do(lambda: None)
    life.do(lambda: _assert_empty(life.drafter))
    life.close()


def _assert_empty(drafter: Drafter) -> None:
    assert drafter._n == drafter._saved == 0


def test_a_useless_draft_model_is_freed_and_comes_back_on_trial(start: Start, pair: tuple[Path, Path]) -> None:
    life = start(*pair)
    plain, _ = life.ask(first_turns())
    model = life.speculator.model
    assert model is not None
    taken = sum(part.total for part in life.ready.info.devices)

    life.do(lambda: setattr(model, "useless", "the draft model cannot pay: a test says so"))
    freed = life.told.get(timeout=30)
    assert (freed.state, life.side.runner.drafter) == ("freed", None)
    assert "small freed: the draft model cannot pay: a test says so" in freed.words
    assert sum(part.total for part in freed.devices) < taken
    assert life.ask(first_turns())[0] == plain

    life.do(lambda: life.speculator.tenure.worked(FIRST_ABSENCE))
    life.do(lambda: life.speculator.costs._ratios.update(dict.fromkeys([(0, 1, 2), (0, 1, 4), (0, 1, 8)], 1.0)))
    back = life.told.get(timeout=30)
    assert back.state == "loaded"
    assert "small, back on trial" in back.words
    assert life.speculator.model is not None
    assert life.speculator.model.useless == ""
    before = life.read
    life.do(lambda: setattr(life.speculator, "model", Patient(0.05)))
    life.do(lambda: life._count(life.drafter))
    assert life.ask(first_turns())[0] == plain
    assert life.read > before
    life.close()


@pytest.mark.model
def test_the_memory_of_a_freed_draft_model_is_really_returned(start: Start, tmp_path: Path, smollm2: Path) -> None:
    life = start(smollm2, smollm2)
    life.ask([Message("user", "Hi.")], n=3)
    size = smollm2.stat().st_size
    model = life.speculator.model
    assert model is not None
    before = memory.rss(os.getpid())
    life.do(lambda: setattr(model, "useless", "it is a test"))
    assert life.told.get(timeout=30).state == "freed"
    assert before - memory.rss(os.getpid()) > 0.8 * size
    life.close()
