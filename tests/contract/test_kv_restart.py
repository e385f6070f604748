"""A conversation outlives the process that held it: four kinds of memory, each on a real, tiny model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fireside_engine import address
from fireside_engine.core.events import Delta, Event, Failed, Finished
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import ChatPrompt, Message, Request, SamplingParams
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.window import TILE
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.driver import Driver
from fireside_engine.worker.loading import load
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.protocol import Happened, LoadOptions, Reply
from tiny_models import WRITERS

WORDS = "the river ran under an old bridge and the water was cold in winter while people slept "


class Life:
    """A worker's inside, from load to end."""

    def __init__(self, path: Path, *, deterministic: bool, cache: bool = True, n_slots: int = 2) -> None:
        options = LoadOptions(n_ctx=2048, n_slots=n_slots, deterministic=deterministic, cache=cache)
        self.ready = load(path, options, lambda stage, fraction: None)
        self.keeper = self.ready.keeper
        keep = self.keeper.keep if self.keeper is not None else None
        self.runner = LlamaRunner(self.ready.context, self.ready.state, keep)
        self.said: queue.Queue[Event] = queue.Queue()
        self.scheduler = Scheduler(self.ready.rules)
        prepare = self.ready.preparer.prepare
        self.driver = Driver(self.scheduler, self.runner, prepare, Outbox(self._hear), self.keeper)
        self.thread = threading.Thread(target=self.driver.run)
        self.thread.start()
        self._n = 0

    def _hear(self, reply: Reply) -> None:
        assert isinstance(reply, Happened)
        self.said.put(reply.event)

    def ask(
        self, messages: list[Message], *, n: int = 12, tenant: str = "", conversation: str = "c", save: bool = True
    ) -> tuple[str, Finished]:
        self._n += 1
        request = Request(
            f"r{self._n}", ChatPrompt(tuple(messages)), SamplingParams(temperature=0), max_tokens=n,
            tenant=tenant, conversation=conversation, save=save,
        )  # fmt: skip
        self.driver.submit(request)
        text = ""
        while True:
            event = self.said.get(timeout=60)
            assert not isinstance(event, Failed), event
            if isinstance(event, Delta):
                text += event.text
            if isinstance(event, Finished):
                return text, event

    def settle(self) -> None:
        """Until nothing is left to do."""
        done = threading.Event()

        def look() -> None:
            if self.scheduler.is_idle:
                done.set()
            else:
                self.driver._post(look)

        self.driver._post(look)
        assert done.wait(60)

    def close(self) -> None:
        self.settle()
        self.driver.close()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.keeper is not None:
            assert self.keeper.close(30)
        self.ready.close()


Start = Callable[..., Life]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("FIRESIDE_HOME", str(tmp_path / "home"))
    lives: list[Life] = []

    def make(path: Path, **options: object) -> Life:
        lives.append(Life(path, **options))  # type: ignore[arg-type]
        return lives[-1]

    yield make
    for life in lives:
        if life.thread.is_alive():
            life.close()


def talk(life: Life, *, turns: int = 3, length: int = 25, n: int = 12, **options: object) -> list[Message]:
    """A conversation with the answers it got."""
    messages = [Message("system", "You are brief. " + WORDS)]
    for turn in range(turns):
        messages.append(Message("user", f"Turn {turn}: " + WORDS * (length // 17 + 1) + "Why?"))
        text, _ = life.ask(messages, n=n, **options)  # type: ignore[arg-type]
        messages.append(Message("assistant", text))
    return messages


def files() -> list[Path]:
    return [path for path in (address.cache_dir() / "kv").rglob("*") if path.is_file() and path.stat().st_size > 4096]


def records() -> list[Path]:
    return [path for path in files() if path.read_bytes()[:5] == b"FSKVR"]


@pytest.mark.parametrize("deterministic", [False, True], ids=["usual", "deterministic"])
@pytest.mark.parametrize("name", WRITERS)
def test_the_next_turn_after_a_restart_computes_new_tokens_only(
    name: str, deterministic: bool, start: Start, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_models[name]
    life = start(path, deterministic=deterministic)
    messages = talk(life)
    _, before = life.ask(messages, n=1)
    life.close()
    messages.append(Message("user", "And now?"))

    again = start(path, deterministic=deterministic)
    text, end = again.ask(messages, n=40)
    again.close()
    assert end.timings.cache_disk_n == end.timings.cache_n
    assert end.timings.cache_n >= before.n_prompt - TILE - 16, end.timings.cache_reason

    for record in records():
        record.unlink()
    cold = start(path, deterministic=deterministic)
    expected, without = cold.ask(messages, n=40)
    assert without.timings.cache_n == 0
    if deterministic:
        assert text == expected
    else:
        assert text[:8] == expected[:8]


@pytest.mark.parametrize("name", ["lfm2", "mamba"])
def test_history_is_fed_as_it_was_generated(name: str, start: Start, tiny_models: dict[str, Path]) -> None:
    """A random model's answers are cut into other tokens when their text comes back; its KV knows the real ones."""
    life = start(tiny_models[name], deterministic=False)
    messages = [*talk(life, turns=1, n=40), Message("user", "And now?")]
    life.close()
    again = start(tiny_models[name], deterministic=False)
    _, end = again.ask(messages)
    prompt = again.ready.preparer.prepare(Request("x", ChatPrompt(tuple(messages)))).prompt
    assert end.n_prompt - end.timings.cache_n < 24
    again.close()
    plain = start(tiny_models[name], deterministic=True)
    usual = plain.ready.preparer.prepare(Request("x", ChatPrompt(tuple(messages)))).prompt
    assert not np.array_equal(usual, prompt)


@pytest.mark.parametrize("name", WRITERS)
def test_a_branch_goes_back_to_what_it_shares(name: str, start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models[name], deterministic=True)
    messages = talk(life, turns=4, length=60)
    life.close()
    edited = [*messages[:5], Message("user", "Something else altogether: " + WORDS)]
    again = start(tiny_models[name], deterministic=True)
    text, end = again.ask(edited, n=30)
    assert end.timings.cache_disk_n > 0
    cold = start(tiny_models[name], deterministic=True, cache=False)
    assert text == cold.ask(edited, n=30)[0]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_damaged_files_cost_time_only(name: str, start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models[name], deterministic=True)
    messages = [*talk(life), Message("user", "And now?")]
    life.close()
    damaged = records()
    assert damaged
    for path in damaged:
        data = bytearray(path.read_bytes())
        data[len(data) // 2 + 2048] ^= 0x10
        path.write_bytes(data)
    again = start(tiny_models[name], deterministic=True)
    text, end = again.ask(messages, n=30)
    assert end.timings.cache_n == 0
    again.close()
    cold = start(tiny_models[name], deterministic=True, cache=False)
    assert text == cold.ask(messages, n=30)[0]


def test_tenants_do_not_see_each_other(start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models["llama"], deterministic=False)
    messages = [*talk(life, tenant="a"), Message("user", "And now?")]
    assert life.ask(messages, tenant="b")[1].timings.cache_n == 0
    life.close()
    again = start(tiny_models["llama"], deterministic=False)
    assert again.ask(messages, tenant="c")[1].timings.cache_n == 0
    assert again.ask(messages, tenant="a")[1].timings.cache_n > 0


def test_what_is_not_to_be_saved_leaves_nothing(start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models["llama"], deterministic=False)
    talk(life, save=False)
    life.close()
    assert records() == []


def test_two_conversations_share_their_beginning_on_disk(start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models["llama"], deterministic=False)
    system = Message("system", WORDS * 45)
    _, first = life.ask([system, Message("user", "One?")], conversation="one")
    assert first.n_prompt > 600
    life.close()
    size = sum(path.stat().st_size for path in records())
    again = start(tiny_models["llama"], deterministic=False)
    _, second = again.ask([system, Message("user", "Two, which is another question?")], conversation="two")
    assert second.timings.cache_disk_n > 500
    again.close()
    grown = sum(path.stat().st_size for path in records()) - size
    assert grown <= 300 * (size / first.n_prompt)


def test_a_deleted_conversation_leaves_nothing_in_memory_or_on_disk(start: Start, tiny_models: dict[str, Path]) -> None:
    life = start(tiny_models["llama"], deterministic=False)
    messages = talk(life, conversation="gone")
    life.settle()
    life.driver.forget(Owner("", "gone"), drop=True)
    life.settle()
    assert life.keeper is not None
    assert life.keeper._writer.flush(30)
    _, end = life.ask(messages, conversation="other", save=False)
    assert end.timings.cache_n == 0
    life.close()
    assert records() == []
    again = start(tiny_models["llama"], deterministic=False)
    assert again.ask(messages)[1].timings.cache_n == 0


def test_a_slot_is_not_needed_for_a_conversation_to_go_on(start: Start, tiny_models: dict[str, Path]) -> None:
    """More conversations than slots take turns; each finds its KV on disk."""
    life = start(tiny_models["llama"], deterministic=False, n_slots=1)
    chats = []
    for name in ("a", "b", "c"):
        messages = [Message("user", name + WORDS * 12)]
        text, _ = life.ask(messages, conversation=name)
        chats.append((name, [*messages, Message("assistant", text), Message("user", "Go on.")]))
        life.settle()
        assert life.keeper is not None
        assert life.keeper._writer.flush(30)
    for name, messages in chats[:2]:
        _, end = life.ask(messages, conversation=name)
        assert end.timings.cache_disk_n > 150
