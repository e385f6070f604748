"""KV that is cut out of a context and put back is the KV that was there, bit for bit; anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fireside_engine.core import state_layout as layouts
from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.state_rows import MemoryClass, RowsUse
from fireside_engine.errors import InternalError
from fireside_engine.llama.context import Context
from fireside_engine.llama.library import api
from fireside_engine.llama.model import Model
from fireside_engine.llama.state import StateAccess
from kv_steps import KV, greedy, make_context, prefill, random_tokens, used
from tiny_models import WINDOW, WRITERS, write_lfm2

N_CTX, STEPS = 2048, 64
NAMES = [*WRITERS, "lfm2-window"]
RING = 768
"""Cells of a window of 128 tokens with batches of 512."""


@dataclass
class Setup:
    model: Model
    context: Context
    state: StateAccess

    def held(self, slot: int) -> int:
        return int(api.llama_memory_seq_pos_max(self.context.memory, slot)) + 1

    def taken(self, slot: int, n: int) -> tuple[list[RowsUse], bytes | None]:
        return used(self.state.cut(slot, 0, n, n)), self.state.checkpoint(slot)


@pytest.fixture(scope="module")
def models(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    window = write_lfm2(tmp_path_factory.mktemp("window") / "lfm2-window.gguf", window=WINDOW)
    found = {name: Model(path) for name, path in {**tiny_models, "lfm2-window": window}.items()}
    yield found
    for model in found.values():
        model.close()


@pytest.fixture
def make(models: dict[str, Model]) -> Iterator[Callable[..., Setup]]:
    made = []

    def setup(name: str, kv: str = "f16", **more: int) -> Setup:
        context = make_context(models[name], more.pop("n_ctx", N_CTX), kv, **more)
        made.append(context)
        return Setup(models[name], context, StateAccess(context))

    yield setup
    for context in made:
        context.close()


def test_the_class_of_a_memory(make: Callable[..., Setup]) -> None:
    setups = {name: make(name) for name in NAMES}
    assert {name: s.state.memory_class for name, s in setups.items()} == {
        "llama": MemoryClass.ATTENTION,
        "gemma3": MemoryClass.WINDOWED,
        "lfm2": MemoryClass.HYBRID,
        "mamba": MemoryClass.RECURRENT,
        "qwen35": MemoryClass.HYBRID,
        # All its layers have windows, so there is nothing that is kept for every token.
        "lfm2-window": MemoryClass.RECURRENT,
    }
    assert [s.state.why for s in setups.values()] == [""] * len(NAMES)
    assert setups["llama"].state.row_bytes == 3 * (128 + 128)
    assert setups["llama"].state.state_bytes == 0
    assert setups["mamba"].state.row_bytes == 0
    # Positions in two dimensions are stored with the rows.
    assert setups["qwen35"].state.row_bytes == 2 * (128 + 128) + 12
    assert all(s.held(0) == 0 for s in setups.values()), "the probe leaves slot 0 empty"


def test_the_fingerprint_tells_forms_apart(make: Callable[..., Setup]) -> None:
    prints = {(name, kv): make(name, kv).state.fingerprint for name in ("llama", "gemma3", "lfm2") for kv in KV}
    assert len(set(prints.values())) == len(prints)
    assert make("llama", n_slots=1, n_ctx=512).state.fingerprint == prints["llama", "f16"]
    assert make("gemma3", n_slots=1, n_ctx=512).state.fingerprint == prints["gemma3", "f16"]


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("name", NAMES)
def test_a_restored_sequence_goes_on_with_the_same_bits(make: Callable[..., Setup], name: str, kv: str) -> None:
    n = 2 * RING - 30
    s = make(name, kv)
    first = int(prefill(s.context, 0, random_tokens(s.model, n)).argmax())
    rows, state = s.taken(0, n)
    expected = greedy(s.context, 0, first, n, STEPS)
    assert s.state.checkpoint(0, n + 1) is None
    for slot in (2, 0):
        assert s.state.restore(slot, rows, state, n)
        assert np.array_equal(greedy(s.context, slot, first, n, STEPS), expected), slot
    assert len(state or b"") == s.state.state_bytes


@pytest.mark.parametrize("n", [1, WINDOW - 1, WINDOW, WINDOW + 1, RING - 1, RING, RING + 1, RING + 100, 2 * RING])
@pytest.mark.parametrize("name", ["gemma3", "lfm2-window"])
def test_windows_restored_at_any_place_of_their_ring(make: Callable[..., Setup], name: str, n: int) -> None:
    """Cells of a window are a ring, and attention sums in the order of cells: with the window in other cells the bits
    differed as soon as the ring wrapped."""
    s = make(name)
    tokens = random_tokens(s.model, n + 250, seed=n)
    prefill(s.context, 0, tokens[:n])
    rows, state = s.taken(0, n)
    expected = prefill(s.context, 0, tokens, n, piece=64)
    # A slot with a past of its own: its ring stands elsewhere.
    prefill(s.context, 1, random_tokens(s.model, 1000, seed=7))
    assert s.state.restore(1, rows, state, n)
    assert np.array_equal(prefill(s.context, 1, tokens, n, piece=64), expected)
    assert s.taken(1, n + 250) == s.taken(0, n + 250), "what is cut from the restored slot is the same again"
    token = int(expected.argmax())
    assert np.array_equal(greedy(s.context, 1, token, n + 250, 200), greedy(s.context, 0, token, n + 250, 200))


@pytest.mark.parametrize("name", ["gemma3", "lfm2-window"])
def test_windows_that_keep_every_token(make: Callable[..., Setup], name: str) -> None:
    n = 1500
    s = make(name, "deterministic", swa_full=True)
    first = int(prefill(s.context, 0, random_tokens(s.model, n)).argmax())
    rows, state = s.taken(0, n)
    expected = greedy(s.context, 0, first, n, STEPS)
    assert s.state.restore(1, rows, state, n)
    assert np.array_equal(greedy(s.context, 1, first, n, STEPS), expected)


@pytest.mark.parametrize("name", NAMES)
def test_company_changes_nothing(make: Callable[..., Setup], name: str) -> None:
    """Restoring moves recurrent states between cells while other sequences run."""
    n = 300
    s = make(name, "deterministic")
    prompts = [random_tokens(s.model, n + slot, seed=slot) for slot in range(3)]
    firsts = [int(prefill(s.context, slot, tokens).argmax()) for slot, tokens in enumerate(prompts)]
    kept = [s.taken(slot, n + slot) for slot in range(3)]
    expected = [greedy(s.context, slot, firsts[slot], n + slot, 12) for slot in range(3)]

    # They come back one after the other, in other slots, while the first ones run.
    running: dict[int, tuple[int, int, int]] = {}
    seen: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for step in range(16):
        if step in (0, 2, 4):
            which = step // 2
            slot = (which + 1) % 3
            assert s.state.restore(slot, *kept[which], n + which)
            running[slot] = (which, firsts[which], n + which)
        for slot in sorted(running):
            which, token, at = running[slot]
            logits = greedy(s.context, slot, token, at, 1)[0]
            seen[which].append(logits)
            running[slot] = (which, int(logits.argmax()), at + 1)
    for which in range(3):
        assert np.array_equal(np.array(seen[which][:12]), expected[which]), which


@pytest.mark.parametrize("name", NAMES)
def test_several_at_once_after_a_restore(make: Callable[..., Setup], name: str) -> None:
    """A batch with several restored sequences computes for each what it computed before it was cut."""
    n = 200
    s = make(name)

    def together(tokens: list[int], at: int) -> np.ndarray:
        indices = [s.context.add(slot, at, np.array([tokens[slot]], np.int32), 1) for slot in range(3)]
        assert s.context.decode() == 0
        return np.array([s.context.logits(index) for index in indices])

    tokens = [int(prefill(s.context, slot, random_tokens(s.model, n, seed=slot)).argmax()) for slot in range(3)]
    kept = [s.taken(slot, n) for slot in range(3)]
    expected = [together(tokens, n), together(tokens, n + 1)]
    for slot in (1, 0, 2):
        assert s.state.restore(slot, *kept[slot], n)
    assert np.array_equal(together(tokens, n), expected[0])
    assert np.array_equal(together(tokens, n + 1), expected[1])


def test_rows_are_cut_at_blocks_and_used_in_part(make: Callable[..., Setup]) -> None:
    n = 2 * BLOCK + 88
    s = make("llama")
    tokens = random_tokens(s.model, n)
    prefill(s.context, 0, tokens)
    whole = s.state.cut(0, 0, n, n)
    assert [(r.start, r.count) for r in whole] == [(0, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, 88)]
    later = s.state.cut(0, 100, 2 * BLOCK + 5, n)
    assert [(r.start, r.count) for r in later] == [(100, 156), (BLOCK, BLOCK), (2 * BLOCK, 5)]
    assert later[1].payload == whole[1].payload
    assert s.state.cut(0, 7, 7, n) == []

    # A shorter prefix of what is stored, the way an edited prompt uses it.
    length = BLOCK + 30
    prefill(s.context, 1, tokens[:length])
    expected = s.state.cut(1, 0, length, length)
    part = [replace(use, n_used=min(use.n_stored, length - use.start)) for use in used(whole[:2])]
    assert s.state.restore(2, part, None, length)
    assert s.state.cut(2, 0, length, length) == expected


def test_a_slot_that_holds_something_else_is_not_cut(make: Callable[..., Setup]) -> None:
    s = make("llama")
    prefill(s.context, 0, random_tokens(s.model, 100))
    with pytest.raises(InternalError):
        s.state.cut(0, 0, 99, 99)
    with pytest.raises(InternalError):
        s.state.cut(1, 0, 10, 10)
    api.llama_memory_seq_rm(s.context.memory, 0, 10, 20)
    with pytest.raises(InternalError):
        s.state.cut(0, 0, 90, 90)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_same_while_its_source_goes_on(make: Callable[..., Setup], name: str) -> None:
    n = RING + 200
    s = make(name)
    first = int(prefill(s.context, 0, random_tokens(s.model, n)).argmax())
    prefill(s.context, 1, random_tokens(s.model, 90, seed=5))
    assert s.state.copy(0, 1, n)
    expected = greedy(s.context, 0, first, n, STEPS)
    s.context.trim(0, 0)
    prefill(s.context, 0, random_tokens(s.model, 400, seed=6))
    assert np.array_equal(greedy(s.context, 1, first, n, STEPS), expected)


def test_a_prefix_is_copied_only_where_there_are_rows_alone(make: Callable[..., Setup]) -> None:
    for name in NAMES:
        s = make(name)
        tokens = random_tokens(s.model, 300)
        prefill(s.context, 0, tokens)
        assert s.state.copy(0, 1, 200) == (name == "llama")
        assert not s.state.copy(0, 1, 301)
        assert not s.state.copy(2, 1, 1)
        assert not s.state.copy(0, 0, 300)
    s = make("llama")
    prefill(s.context, 0, tokens)
    assert s.state.copy(0, 2, 192)
    assert s.context.trim(0, 192)
    assert np.array_equal(prefill(s.context, 2, tokens, 192), prefill(s.context, 0, tokens, 192))


def test_what_may_be_trimmed(make: Callable[..., Setup]) -> None:
    n = RING + 400
    for name, swa_full, shortest in (
        ("llama", False, 1),
        # What the ring holds, less the window that must be left.
        ("gemma3", False, n - RING + WINDOW),
        ("gemma3", True, 1),
        ("lfm2", False, n),
        ("lfm2-window", True, n),
        ("mamba", False, n),
    ):
        s = make(name, "deterministic", swa_full=swa_full)
        tokens = random_tokens(s.model, n)
        prefill(s.context, 0, tokens)
        assert next(length for length in range(1, n + 1) if s.context.can_trim(0, length)) == shortest, name
        assert s.context.can_trim(0, 0)
        if shortest < n:
            assert s.context.trim(0, shortest)
            prefill(s.context, 1, tokens[:shortest])
            one, other = (prefill(s.context, slot, tokens, shortest) for slot in (0, 1))
            # Cut across the seam of its ring, a window goes on from cell 0: the same sum in another order.
            assert np.abs(one - other).max() <= (0.05 if 1 < shortest < n else 0)
        if shortest > 1:
            assert not s.context.trim(0, shortest - 1)


@pytest.mark.parametrize("swa_full", [True, False])
def test_a_restored_window_is_not_trimmed_below_its_rows(make: Callable[..., Setup], swa_full: bool) -> None:
    """llama.cpp trims it all the same, and computes nonsense."""
    n = 600
    s = make("gemma3", swa_full=swa_full)
    tokens = random_tokens(s.model, n + 100)
    prefill(s.context, 0, tokens[:n])
    kept = s.taken(0, n)
    assert s.state.restore(1, *kept, n)
    expected = prefill(s.context, 1, tokens, n)
    assert not s.context.trim(1, n - 1)
    assert s.context.trim(1, n)
    assert np.array_equal(prefill(s.context, 1, tokens, n), expected)
    assert s.context.trim(1, 0)
    prefill(s.context, 1, tokens)
    assert s.context.trim(1, n - 1), "what was restored is forgotten"
    assert s.state.restore(2, *kept, n)
    api.llama_memory_seq_rm(s.context.memory, 2, n - 50, -1)
    assert s.state.checkpoint(2) is None or not swa_full, "a window with a hole is no checkpoint"


def test_a_restored_text_within_its_window_may_be_trimmed(make: Callable[..., Setup]) -> None:
    n = WINDOW - 10
    s = make("gemma3")
    tokens = random_tokens(s.model, n)
    prefill(s.context, 0, tokens)
    assert s.state.restore(1, *s.taken(0, n), n)
    assert s.context.trim(1, 50)
    assert s.context.trim(0, 50)
    assert np.array_equal(prefill(s.context, 1, tokens, 50), prefill(s.context, 0, tokens, 50))


@pytest.mark.parametrize("name", ["gemma3", "lfm2-window"])
def test_a_used_slot_is_as_good_as_a_new_one(make: Callable[..., Setup], name: str) -> None:
    """The ring of a window begins anew with a text."""
    n = RING + 30
    s = make(name)
    tokens = random_tokens(s.model, n)
    expected = prefill(s.context, 0, tokens)
    kept = s.taken(0, n)
    for past in (WINDOW, 500, RING, 1000):
        prefill(s.context, 1, random_tokens(s.model, past, seed=past))
        s.context.trim(1, 0)
        assert np.array_equal(prefill(s.context, 1, tokens), expected)
        assert s.state.restore(1, *kept, n)
        s.context.trim(1, 0)
    assert s.taken(0, n) == kept


@pytest.mark.parametrize("size", [256, 512, 1024, 1 << 20])
def test_a_ring_of_another_size_than_expected_costs_bits_only(make: Callable[..., Setup], size: int) -> None:
    n = RING + 300
    s = make("gemma3")
    s.state._ring = size
    tokens = random_tokens(s.model, n + 200)
    prefill(s.context, 0, tokens[:n])
    assert s.state.restore(1, *s.taken(0, n), n)
    for piece in range(n, n + 200, 50):
        one, other = (prefill(s.context, slot, tokens[: piece + 50], piece) for slot in (0, 1))
        assert np.abs(one - other).max() < 0.1 * one.std()


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_refused(make: Callable[..., Setup], name: str) -> None:
    n = 300
    s = make(name)
    prefill(s.context, 0, random_tokens(s.model, n))
    rows, state = s.taken(0, n)
    other = make("mamba" if name == "llama" else "llama")
    prefill(other.context, 0, random_tokens(other.model, n))
    strange_rows, strange_state = other.taken(0, n)

    wrong: list[tuple[list[RowsUse], bytes | None, int]] = [
        (rows, state, n - 1),
        (rows, state, n + 1),
        (rows, state, 0),
        (rows, state, -5),
        (rows, state, N_CTX + 1),
        (strange_rows, strange_state, n),
        (rows, b"" if state is None else None, n),
        (rows, b"x" * 64, n),
    ]
    if rows:
        wrong += [
            (rows[:1], state, n),
            (rows[1:], state, n),
            (rows[::-1], state, n),
            ([*rows, rows[-1]], state, n),
            ([], state, n),
            ([replace(rows[0], n_used=BLOCK - 1), rows[1]], state, n),
            ([replace(rows[0], n_used=BLOCK + 1), rows[1]], state, n),
            ([replace(rows[0], payload=rows[0].payload[:-1]), rows[1]], state, n),
            ([replace(rows[0], payload=bytes(rows[0].payload) + b"x"), rows[1]], state, n),
            ([replace(rows[0], payload=b""), rows[1]], state, n),
            ([replace(rows[0], n_stored=0), rows[1]], state, n),
        ]
    else:
        wrong += [(strange_rows, state, n)]
    for case in wrong:
        prefill(s.context, 1, random_tokens(s.model, 40, seed=1))
        assert not s.state.restore(1, *case)
        assert s.held(1) == 0
        s.context.trim(1, 0)
    assert not s.state.restore(3, rows, state, n)
    assert not s.state.restore(-1, rows, state, n)
    assert s.state.restore(1, rows, state, n)


@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba", "qwen35", "lfm2-window"])
def test_damaged_states_never_pass_or_crash(make: Callable[..., Setup], name: str) -> None:
    """Values of rows are protected by the checksum alone; every other byte is checked."""
    n = 40
    s = make(name)
    prefill(s.context, 0, random_tokens(s.model, n))
    rows, state = s.taken(0, n)
    assert state is not None
    random = np.random.default_rng(1)
    for cut in [0, 1, 4, 8, 20, len(state) - 1, *random.integers(0, len(state), 20)]:
        assert not s.state.restore(1, rows, state[:cut], n)
    assert not s.state.restore(1, rows, state + b"\0", n)
    assert not s.state.restore(1, rows, bytes(len(state)), n)

    structure = _structure(s.state, state, n)
    assert len(structure) < len(state) / 2
    for at in structure:
        for value in (0xFF, 0x00, state[at] ^ 1, state[at] ^ 0x80):
            if value != state[at]:
                damaged = state[:at] + bytes([value]) + state[at + 1 :]
                assert not s.state.restore(1, rows, damaged, n), at
                assert s.held(1) == 0
    assert s.state.restore(1, rows, state, n)


def _structure(access: StateAccess, state: bytes, n: int) -> list[int]:
    """Places of the bytes of a checkpoint that are no values: found by what changes when all values do."""
    layout = access._layout
    data = np.frombuffer(state, np.uint8)
    values = np.zeros(len(state), bool)
    at = 0
    if layout.window is not None:
        placed = layouts.locate(data, 0, layout.window, 1)
        assert placed is not None
        base = placed.end - len(placed.data)
        for row, _, place in layout.window.parts(n):
            values[base + place : base + place + n * row] = True
        # The sequence inside a cell is ignored.
        first = base - 8 - n * 12
        for i in range(n):
            values[first + 12 * i + 8 : first + 12 * i + 12] = True
        at = placed.end
    if layout.recurrent is not None:
        at += 20
        for section in layout.recurrent.sections:
            values[at + 12 : at + 12 + section.row] = True
            at += 12 + section.row
    return [int(i) for i in np.flatnonzero(~values)]


@pytest.mark.parametrize("name", NAMES)
def test_what_llama_cpp_itself_refuses_or_loses_leaves_an_empty_slot(
    make: Callable[..., Setup], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 300
    s = make(name)
    prefill(s.context, 0, random_tokens(s.model, n))
    kept = s.taken(0, n)
    write = StateAccess._write

    def refused(access: StateAccess, slot: int, data: layouts.Bytes, flags: int) -> bool:
        return write(access, slot, data[:-1], flags)

    def lost(access: StateAccess, slot: int, data: layouts.Bytes, flags: int) -> bool:
        done = write(access, slot, data, flags)
        api.llama_memory_seq_rm(s.context.memory, slot, -1 if flags == 0 else 0, -1)
        return done

    for fault in (refused, lost):
        monkeypatch.setattr(StateAccess, "_write", fault)
        assert not s.state.restore(1, *kept, n)
        assert s.held(1) == 0
        # Rows alone would not show in the positions above.
        assert layouts.locate(s.state._read(1, 0), layouts.HEAD, s.state._layout.rows or _NOTHING, 3) is None
        assert not s.state.copy(0, 1, n)
        monkeypatch.undo()
        assert s.state.restore(1, *kept, n)


_NOTHING = layouts.Cache(0, (), ())


def test_a_layout_that_is_not_understood(make: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "find", lambda *_: None)
    s = make("llama")
    assert s.state.memory_class is MemoryClass.OPAQUE
    assert s.state.why
    prefill(s.context, 0, random_tokens(s.model, 30))
    assert s.state.cut(0, 0, 30, 30) == []
    assert s.state.checkpoint(0) is None
    assert not s.state.restore(1, [], None, 30)
    assert not s.state.copy(0, 1, 30)
    assert s.context.can_trim(0, 0)


def test_one_slot(make: Callable[..., Setup]) -> None:
    for name in NAMES:
        s = make(name, n_slots=1)
        prefill(s.context, 0, random_tokens(s.model, 300))
        kept = s.taken(0, 300)
        wide = make(name, n_slots=4)
        assert wide.state.restore(3, *kept, 300), "what one slot kept, one of four takes"
        assert wide.taken(3, 300) == kept


@pytest.mark.parametrize("name", NAMES)
def test_without_memory_for_it_nothing_is_restored(
    make: Callable[..., Setup], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = make(name)
    prefill(s.context, 0, random_tokens(s.model, 300))
    kept = s.taken(0, 300)
    s.state.release()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr("mmap.mmap", refuse)
        assert not s.state.restore(1, *kept, 300)
        assert not s.state.copy(0, 1, 300)
        assert s.held(1) == 0
        with pytest.raises(MemoryError):
            s.taken(0, 300)
            s.state.checkpoint(0) if name != "llama" else s.state.cut(0, 0, 300, 300)
    assert s.state.copy(0, 1, 300)


def test_memory_for_later_never_fails_a_load(make: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a small limit of address space there may be none to touch for the first restore."""
    s = make("llama")
    s.state.release()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr("mmap.mmap", refuse)
        s.state.warm(300, 1 << 30)
        assert s.state.resident == 0
    s.state.warm(300, 1 << 30)
    assert s.state.resident >= 300 * s.state.row_bytes


def test_memory_is_given_back(make: Callable[..., Setup]) -> None:
    s = make("llama")
    prefill(s.context, 0, random_tokens(s.model, 300))
    kept = s.state.cut(0, 0, 300, 300)
    assert s.state.resident > 0
    s.state.release()
    assert s.state.resident == 0
    assert s.state.cut(0, 0, 300, 300) == kept
