"""Whatever happens to the store, a question is answered with what was put, or with a miss."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fireside_engine.core.blocks import BLOCK
from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.found import Found
from fireside_engine.kv_cache.health import PAUSE
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.record import HEADER_BYTES
from fireside_engine.kv_cache.store import Store
from kv_faults import (
    ANN,
    BOB,
    FULL,
    NOBODY,
    OTHER_ROOT,
    READ_ONLY,
    ROOT,
    Crash,
    FaultyDisk,
    check,
    files,
    nth,
    restored,
    rows_of,
    state_of,
    temporary_files,
)

PAYLOAD = 200
SIZE = HEADER_BYTES + PAYLOAD
BUDGET = 12 * SIZE
OWNERS = st.sampled_from([ANN, BOB, NOBODY])
ROOTS = st.sampled_from([ROOT, ROOT, OTHER_ROOT])
WHICH = st.integers(0, 1)


def prompt(branches: list[int], length: int) -> list[int]:
    """Prompts with common beginnings: each number decides the tokens of half a block."""
    tokens = [position + 2000 * branches[position // 128] for position in range(128 * len(branches))]
    return tokens[:length]


PROMPTS = st.builds(
    prompt,
    st.lists(st.integers(0, 1), min_size=1, max_size=8),
    st.sampled_from([1, 100, 128, 256, 300, 512, 640, 1024]),
)


class StoreMachine(RuleBasedStateMachine):
    """Two stores of one directory, as two processes have them."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kv-machine-"))
        self.now = 0.0
        self.disks = [FaultyDisk(), FaultyDisk()]
        self.stores = [self._open(number) for number in range(2)]
        self.calm = True
        """Nothing has failed, so what was put must be there unless it was evicted."""

    def _open(self, number: int) -> Store:
        return Store(self.directory / "kv", budget=BUDGET, disk=self.disks[number], clock=lambda: self.now)

    def _act(self, number: int, act: object) -> None:
        """Call it; if the process dies in it, it begins anew."""
        try:
            act()  # type: ignore[operator]
        except Crash:
            self.disks[number].plan = None
            store = self.stores[number]
            store.tier.temporary.abandon()
            store.tier.index.close()
            self.stores[number] = self._open(number)
            self.calm = False
        for store in self.stores:
            store.tier.index.wait(10)

    # --- what a user does

    @rule(which=WHICH, tokens=PROMPTS, root=ROOTS, owner=OWNERS, generated=st.sampled_from([0, 0, 30, 200]))
    def put(self, which: int, tokens: list[int], root: bytes, owner: object, generated: int) -> None:
        prefilled = max(0, len(tokens) - generated)
        records = rows_of(tokens, root=root, owner=owner, n_prefilled=prefilled, size=PAYLOAD)  # type: ignore[arg-type]
        self._act(which, lambda: self.stores[which].put(records))
        if self.calm and self.disks[which].plan is None:
            # It is the last used, and the budget holds it.
            assert restored(self.stores[1 - which], tokens, root=root, size=PAYLOAD) == len(tokens)

    @rule(which=WHICH, tokens=PROMPTS, root=ROOTS, owner=OWNERS)
    def put_state(self, which: int, tokens: list[int], root: bytes, owner: object) -> None:
        record = state_of(tokens, root=root, owner=owner, size=PAYLOAD)  # type: ignore[arg-type]
        self._act(which, lambda: self.stores[which].put([record]))

    @rule(which=WHICH, tokens=PROMPTS, root=ROOTS, owner=OWNERS)
    def get(self, which: int, tokens: list[int], root: bytes, owner: object) -> None:
        def act() -> None:
            found = self.stores[which].lookup(root, tokens)
            end = check(self.stores[which], found, tokens, size=PAYLOAD)
            if end:
                self.stores[which].used(found, end, owner)  # type: ignore[arg-type]

        self._act(which, act)

    @rule(which=WHICH, tokens=PROMPTS, root=ROOTS)
    def get_late(self, which: int, tokens: list[int], root: bytes) -> None:
        """Between the look-up and the reading, the other process removes everything."""
        seen: list[Found] = []
        self._act(which, lambda: seen.append(self.stores[which].lookup(root, tokens)))
        self._manage(1 - which, lambda: upkeep.prune(self.stores[1 - which], 0))
        if seen:
            self._act(which, lambda: check(self.stores[which], seen[0], tokens, size=PAYLOAD))

    @rule(which=WHICH, owner=OWNERS)
    def forget(self, which: int, owner: object) -> None:
        def act() -> None:
            self.stores[which].forget(owner)  # type: ignore[arg-type]
            assert owner not in {usage.owner for usage in upkeep.summary(self.stores[which]).conversations}

        self._manage(which, act)

    @rule(which=WHICH, keep=st.integers(0, 6))
    def prune(self, which: int, keep: int) -> None:
        self._manage(which, lambda: upkeep.prune(self.stores[which], keep * SIZE))

    @rule(which=WHICH)
    def verify(self, which: int) -> None:
        self._manage(which, lambda: upkeep.verify(self.stores[which]))

    @rule(which=WHICH)
    def sweep(self, which: int) -> None:
        self._act(which, lambda: self.stores[which].sweep())

    @rule(which=WHICH)
    def restart(self, which: int) -> None:
        self.disks[which].plan = None
        self.stores[which].close()
        self.stores[which] = self._open(which)

    @rule()
    def wait(self) -> None:
        self.now += PAUSE

    def _manage(self, which: int, act: object) -> None:
        """These may say that they cannot."""

        def tried() -> None:
            try:
                act()  # type: ignore[operator]
            except (OSError, Unavailable):
                self.calm = False

        self._act(which, tried)

    # --- what goes wrong

    @rule(which=WHICH, count=st.integers(1, 12))
    def crash_soon(self, which: int, count: int) -> None:
        self.disks[which].plan = nth(count, Crash())
        self.calm = False

    @rule(which=WHICH, count=st.integers(1, 12), code=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]))
    def fail_soon(self, which: int, count: int, code: int) -> None:
        self.disks[which].plan = nth(count, OSError(code, os.strerror(code)))
        self.calm = False

    @rule(which=WHICH, plan=st.sampled_from([FULL, READ_ONLY]))
    def fill_or_lock_the_disk(self, which: int, plan: object) -> None:
        self.disks[which].plan = plan  # type: ignore[assignment]
        self.calm = False

    @rule(which=WHICH)
    def mend_the_disk(self, which: int) -> None:
        self.disks[which].plan = None

    @precondition(lambda self: files(self.directory / "kv"))
    @rule(seed=st.integers(0, 2**16))
    def corrupt(self, seed: int) -> None:
        rng = random.Random(seed)
        path = rng.choice(files(self.directory / "kv"))
        data = bytearray(path.read_bytes())
        match rng.randrange(4):
            case 0 if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(len(data) + 1) :]
            case 2:
                data[:] = rng.choice(files(self.directory / "kv")).read_bytes()
            case _:
                path.unlink()
                self.calm = False
                return
        path.write_bytes(data)
        self.calm = False

    @rule(noise=st.booleans())
    def harm_the_index(self, noise: bool) -> None:
        for path in (self.directory / "kv").glob("index-*.sqlite"):
            if noise:
                path.write_bytes(random.Random(1).randbytes(8192))
            else:
                path.unlink()
        self.calm = False

    @rule()
    def delete_the_directory(self) -> None:
        shutil.rmtree(self.directory / "kv", ignore_errors=True)
        self.calm = False

    # --- what holds

    @invariant()
    def the_budget_holds(self) -> None:
        """A block that a crash left between file and row is counted only by the sweep."""
        size = sum(path.stat().st_size for path in files(self.directory / "kv"))
        assert size <= BUDGET + (0 if self.calm else 8 * SIZE)

    def teardown(self) -> None:
        for disk in self.disks:
            disk.plan = None
        self.now += PAUSE
        for store in self.stores:
            store.lookup(ROOT, [1])
            store.tier.index.wait(10)
        self.now += PAUSE
        self.stores[0].close()
        last = self.stores[1]
        last.put(rows_of([1, 2, 3], size=PAYLOAD))
        last.sweep()
        # After all that, it works, and what lies there is what the index knows.
        last.put(rows_of([1, 2, 3], size=PAYLOAD))
        assert restored(last, [1, 2, 3], size=PAYLOAD) == 3
        held = upkeep.summary(last).bytes
        assert held == sum(path.stat().st_size for path in files(self.directory / "kv")) <= BUDGET
        assert not temporary_files(self.directory / "kv")
        upkeep.verify(last)
        for root in (ROOT, OTHER_ROOT):
            for branch in range(4):
                tokens = prompt([branch & 1, branch >> 1] * 4, 1024)
                restored(last, tokens, root=root, size=PAYLOAD)
        last.close()
        shutil.rmtree(self.directory)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
class TestStoreMachine(StoreMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=int(os.environ.get("KV_EXAMPLES", "30")),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_the_prompts_share_beginnings() -> None:
    first, second = prompt([0, 0, 1, 0], 512), prompt([0, 0, 1, 1], 512)
    assert first[:384] == second[:384]
    assert first[384] != second[384]
    assert len(prompt([0, 1], 1024)) == BLOCK
