"""Kills workers and servers at random while conversations go on, and compares every answer with a cold one.

The model is tiny and answers are `deterministic`, so an answer is right or wrong, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fireside.engine_process import find
from fireside_engine import address
from fireside_engine.kv_cache.store import Store
from fireside_engine.kv_cache.upkeep import Verified, verify
from real_engine import RealEngine

WORDS = ("the", "river", "ran", "under", "an", "old", "bridge", "and", "water", "was", "cold", "in", "winter", "slept")
TOKENS = 24


def prompts(seed: int, turns: int = 4) -> list[list[dict[str, str]]]:
    """The prompts of one conversation; its answers are made up, so that each prompt stands for itself."""
    random_ = random.Random(seed)
    messages = [{"role": "system", "content": " ".join(WORDS * 12)}]
    asked = []
    for _ in range(turns):
        messages.append({"role": "user", "content": " ".join(random_.choices(WORDS, k=90))})
        asked.append(list(messages))
        messages.append({"role": "assistant", "content": " ".join(random_.choices(WORDS, k=20))})
    return asked


@dataclass
class Killing:
    """One run. `wrong` must stay empty."""

    engine: RealEngine
    model: str
    seed: int = 1
    answered: int = 0
    interrupted: int = 0
    cached: int = 0
    from_disk: int = 0
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(
        self, messages: list[dict[str, str]], conversation: str, *, save: bool = True
    ) -> tuple[str, dict[str, Any]]:
        """Raises OSError or ValueError when the engine dies over it."""
        endpoint = find()
        if endpoint is None:
            raise ConnectionError("no engine")
        extension = {"deterministic": True, "conversation": conversation, "save": save}
        body = {
            "model": self.model, "messages": messages, "max_tokens": TOKENS, "temperature": 0, "fireside": extension,
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{endpoint.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.loads(response.read())
        return answer["choices"][0]["message"]["content"], answer["timings"]

    def expect(self, talks: list[list[list[dict[str, str]]]]) -> dict[str, str]:
        """Cold answers: nothing is saved, and the conversation before was another one."""
        expected = {}
        for turn in range(len(talks[0])):
            for talk in talks:
                text, _ = self.ask(talk[turn], "", save=False)
                expected[json.dumps(talk[turn])] = text
        return expected

    def run(self, kills: int, *, talkers: int = 3, slowest: float = 3.0) -> None:
        """Returns after so many kills; the engine is started again after each that hit it."""
        talks = [prompts(self.seed * 1000 + i) for i in range(talkers * 2)]
        self.start()
        expected = self.expect(talks)
        threads = [threading.Thread(target=self._talk, args=(talks[i::talkers], expected, i)) for i in range(talkers)]
        for thread in threads:
            thread.start()
        random_ = random.Random(self.seed)
        try:
            for _ in range(kills):
                time.sleep(random_.uniform(0.02, slowest))
                self.kill(server=random_.random() < 0.5)
                self.start()
        finally:
            self._over.set()
            for thread in threads:
                thread.join(120)
        assert not any(thread.is_alive() for thread in threads)

    def start(self) -> None:
        for _ in range(5):
            done = self.engine.cli("run", "-m", self.model, "--deterministic", "--no-save", "-q", "-n", "1", "hi")
            if done.code == 0:
                return
        # A process that was just killed may be asked once more before its end is known.
        raise AssertionError(done)

    def kill(self, *, server: bool) -> None:
        endpoint = find()
        if endpoint is None:
            return
        wanted = "fireside_engine.server" if server else "fireside_engine.worker"
        for process in self.engine.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if wanted in process.cmdline():
                    process.send_signal(signal.SIGKILL)

    def _talk(self, talks: list[list[list[dict[str, str]]]], expected: dict[str, str], number: int) -> None:
        random_ = random.Random(self.seed + number)
        while not self._over.is_set():
            talk = random_.choice(talks)
            for turn, messages in enumerate(talk):
                if self._over.is_set():
                    return
                try:
                    text, timings = self.ask(messages, f"talk {number}")
                except (OSError, ValueError, urllib.error.HTTPError):
                    with self._lock:
                        self.interrupted += 1
                    time.sleep(0.05)
                    continue
                with self._lock:
                    self.answered += 1
                    self.cached += timings["cache_n"]
                    self.from_disk += timings["cache_disk_n"]
                    if text != expected[json.dumps(messages)]:
                        self.wrong.append(f"turn {turn} of talk {number}, {timings}")


def left_behind(home: Path) -> tuple[int, Verified]:
    """After a sweep: bytes that a second one would still remove, and what a reading of every record says."""
    os.environ[address.HOME_VARIABLE] = str(home)
    store = Store(address.cache_dir() / "kv")
    try:
        store.tier.index.wait(30)
        store.sweep()
        again = store.sweep()
        temporary = (address.cache_dir() / "kv" / "tmp").rglob("*")
        return again + sum(path.stat().st_size for path in temporary if path.is_file()), verify(store)
    finally:
        store.close()
