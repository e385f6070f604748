"""What the store promises, one story for each."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fireside_engine.core.blocks import BLOCK
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import upkeep
from fireside_engine.kv_cache.found import Divergence
from fireside_engine.kv_cache.record import HEADER_BYTES
from fireside_engine.kv_cache.store import Store
from kv_faults import (
    ANN,
    BOB,
    NOBODY,
    OTHER_ROOT,
    PAYLOAD,
    ROOT,
    files,
    put,
    restored,
    rows_of,
    state_of,
    temporary_files,
    text,
)

SIZE = HEADER_BYTES + PAYLOAD


# --- finding


def test_a_prompt_comes_back_after_a_restart(tmp_path: Path) -> None:
    tokens = text(1500)
    first = Store(tmp_path / "kv", budget=1 << 30)
    assert put(first, tokens) == 6
    first.close()
    second = Store(tmp_path / "kv", budget=1 << 30)
    found = second.lookup(ROOT, tokens)
    assert found.n == found.prefilled == 1500
    assert found.divergence is None
    assert restored(second, tokens) == 1500
    assert not temporary_files(tmp_path / "kv")


def test_a_block_is_used_up_to_the_first_token_that_differs(store: Store) -> None:
    tokens = text(600)
    put(store, tokens)
    edited = [*tokens[:300], 40000, *tokens[301:]]
    found = store.lookup(ROOT, edited)
    assert [(piece.n_used, piece.n_stored) for piece in found.pieces] == [(256, 256), (44, 256)]
    assert found.n == 300
    assert found.divergence == Divergence(300, tokens[300])
    assert restored(store, edited) == 300


def test_of_several_continuations_the_nearest_is_taken(store: Store) -> None:
    tokens = text(256)
    for length, token in ((10, 50001), (100, 50002), (40, 50003)):
        put(store, [*tokens, *text(length, 1), token, *text(60, token)])
    found = store.lookup(ROOT, [*tokens, *text(200, 1)])
    assert found.n == 256 + 100
    assert found.divergence == Divergence(356, 50002)


def test_a_prompt_that_begins_otherwise_diverges_at_once(store: Store) -> None:
    put(store, text(600))
    found = store.lookup(ROOT, [1, 2, 3])
    assert found.pieces == ()
    assert found.divergence == Divergence(0, text(1)[0])


def test_a_prompt_that_goes_on_where_the_stored_one_ends_does_not_diverge(store: Store) -> None:
    put(store, text(300))
    assert store.lookup(ROOT, text(900)).divergence is None
    assert store.lookup(ROOT, text(900)).n == 300
    assert store.lookup(ROOT, text(100)).divergence is None
    assert store.lookup(ROOT, text(100)).n == 100


def test_another_tenant_finds_nothing_and_learns_nothing(store: Store) -> None:
    put(store, text(600))
    found = store.lookup(OTHER_ROOT, text(600))
    assert found.n == 0
    assert found.divergence is None


def test_tokens_that_were_generated_one_by_one_are_told_from_those_of_a_prompt(store: Store) -> None:
    tokens = text(700)
    put(store, tokens, n_prefilled=300)
    assert store.lookup(ROOT, tokens).prefilled == 300
    assert store.lookup(ROOT, tokens[:280]).prefilled == 280
    put(store, tokens, n_prefilled=400)
    assert store.lookup(ROOT, tokens).prefilled == 400


def test_rows_of_a_prompt_replace_generated_ones_and_not_the_other_way(store: Store, tmp_path: Path) -> None:
    tokens = text(256)
    assert put(store, tokens, n_prefilled=10) == 1
    assert put(store, tokens, n_prefilled=256) == 1
    assert put(store, tokens, n_prefilled=10) == 0
    assert store.lookup(ROOT, tokens).prefilled == 256
    assert len(files(tmp_path / "kv")) == 1


# --- sharing


def test_what_conversations_share_is_stored_once(store: Store, tmp_path: Path) -> None:
    system = text(1024)
    put(store, system + text(300, 1), owner=ANN)
    put(store, system + text(300, 2), owner=BOB)
    assert len(files(tmp_path / "kv")) == 4 + 2 + 2
    assert upkeep.summary(store).bytes == 8 * SIZE


def test_a_longer_unfinished_block_takes_the_place_of_a_shorter(store: Store, tmp_path: Path) -> None:
    put(store, text(300))
    put(store, text(340))
    assert len(files(tmp_path / "kv")) == 2
    assert store.lookup(ROOT, text(900)).n == 340
    assert put(store, text(320)) == 0
    put(store, text(520))
    assert len(files(tmp_path / "kv")) == 3


def test_a_block_that_grows_remembers_how_often_it_was_used(store: Store) -> None:
    tokens = text(200)
    put(store, tokens[:40], owner=ANN)
    store.used(store.lookup(ROOT, tokens[:40]), 40, ANN)
    put(store, tokens[:80], owner=ANN)
    store.used(store.lookup(ROOT, tokens[:80]), 80, ANN)
    put(store, tokens[:120], owner=ANN)
    assert [use.hits for use in upkeep.summary(store).conversations] == [2]


def test_a_shorter_block_stays_while_another_conversation_uses_it(store: Store, tmp_path: Path) -> None:
    put(store, text(300), owner=ANN)
    put(store, text(340), owner=BOB)
    assert len(files(tmp_path / "kv")) == 3
    store.forget(BOB)
    assert restored(store, text(340)) == 300


def test_a_shorter_block_stays_when_more_of_it_came_from_a_prompt(store: Store) -> None:
    put(store, text(300), n_prefilled=300)
    put(store, text(340), n_prefilled=260)
    assert store.lookup(ROOT, text(300)).prefilled == 300


# --- checkpoints


def test_checkpoints_are_found_up_to_where_rows_reach(store: Store) -> None:
    tokens = text(700)
    store.put([*rows_of(tokens[:600]), state_of(tokens[:256]), state_of(tokens[:512]), state_of(tokens[:590])])
    store.put([state_of([*tokens[:520], 1, 2])])
    assert [state.position for state in store.lookup(ROOT, tokens).states] == [256, 512, 590]
    assert [state.position for state in store.lookup(ROOT, tokens[:512]).states] == [256, 512]
    assert [state.position for state in store.lookup(ROOT, tokens[:511]).states] == [256]
    assert restored(store, tokens) == 600


def test_checkpoints_that_are_the_whole_memory_need_no_rows(store: Store) -> None:
    tokens = text(700)
    store.put([state_of(tokens[:300]), state_of(tokens[:690])])
    assert store.lookup(ROOT, tokens).states == ()
    found = store.lookup(ROOT, tokens, states_alone=True)
    assert [state.position for state in found.states] == [300, 690]


@pytest.mark.parametrize("owner", [ANN, NOBODY])
def test_a_conversation_keeps_its_first_checkpoint_and_the_last_ones(store: Store, owner: Owner) -> None:
    tokens = text(2000)
    for turn in range(1, 9):
        store.put([*rows_of(tokens[: turn * 200], owner=owner), state_of(tokens[: turn * 200], owner=owner)])
    assert [state.position for state in store.lookup(ROOT, tokens).states] == [200, 1200, 1400, 1600]


# --- budget


def test_the_budget_holds_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "kv", budget=8 * SIZE)
    put(store, text(1024, 1))
    put(store, text(1024, 2))
    used = store.lookup(ROOT, text(1024, 1))
    store.used(used, 1024, ANN)
    put(store, text(512, 3))
    assert len(files(tmp_path / "kv")) == 8
    assert [restored(store, text(1024, seed)) for seed in (1, 2, 3)] == [1024, 512, 512]


def test_ancestors_of_what_is_written_are_never_evicted(tmp_path: Path) -> None:
    store = Store(tmp_path / "kv", budget=3 * SIZE)
    put(store, text(2048))
    assert restored(store, text(2048)) == 3 * BLOCK
    assert upkeep.summary(store).counts["refused"] == 1
    assert upkeep.summary(store).counts["lost"] == 4
    # Another prompt is more recent, so it gets the room.
    put(store, text(512, 5))
    assert restored(store, text(512, 5)) == 512
    assert len(files(tmp_path / "kv")) == 3


def test_a_record_that_is_larger_than_the_budget_costs_the_others_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "kv", budget=3 * SIZE)
    put(store, text(700))
    put(store, text(100, 1), size=4 * SIZE)
    assert restored(store, text(700)) == 700


def test_a_disk_that_others_fill_takes_its_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "kv", budget=1 << 30)
    put(store, text(1024))
    gib = 1024**3
    monkeypatch.setattr(store.tier.disk, "space", lambda path: (2 * gib - SIZE, 20 * gib))
    put(store, text(256, 1))
    assert len(files(tmp_path / "kv")) == 3


def test_the_default_budget_depends_on_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "kv")
    monkeypatch.setattr(store.tier.disk, "space", lambda path: (40 * 1024**3, 100 * 1024**3))
    put(store, text(10))
    assert upkeep.summary(store).budget == pytest.approx(4 * 1024**3, rel=0.01)


# --- forgetting


def test_forgetting_a_conversation_deletes_what_only_it_used(store: Store, tmp_path: Path) -> None:
    system = text(512)
    put(store, system + text(300, 1), owner=ANN)
    put(store, system + text(300, 2), owner=BOB)
    store.put([state_of(system + text(300, 1), owner=ANN)])
    store.remember(ROOT, b"digest", [1, 2], ANN)
    removed = store.forget(ANN)
    assert (removed.records, removed.bytes) == (3, 3 * SIZE)
    assert restored(store, system + text(300, 1)) == 512
    assert restored(store, system + text(300, 2)) == 812
    assert store.recall(ROOT, [b"digest"]) == {}
    assert {usage.owner for usage in upkeep.summary(store).conversations} == {BOB}
    assert store.forget(ANN).records == 0
    store.forget(BOB)
    assert files(tmp_path / "kv") == []


def test_a_conversation_that_restored_blocks_keeps_them(store: Store) -> None:
    """BOB never put the shared blocks: it found them. They are its own all the same."""
    put(store, text(700), owner=ANN)
    found = store.lookup(ROOT, text(700))
    store.used(found, 700, BOB)
    store.forget(ANN)
    assert restored(store, text(700)) == 700


def test_restoring_the_beginning_of_a_block_does_not_keep_what_follows_in_it(store: Store, tmp_path: Path) -> None:
    """The last block that BOB needs goes on with what only ANN was told: forgetting ANN has to delete that."""
    secret = [0x6E6F7421] * 100
    put(store, [*text(600), *secret], owner=ANN)
    found = store.lookup(ROOT, [*text(600), *text(50, seed=9)])
    assert found.n == 600
    store.used(found, found.n, BOB)
    store.forget(ANN)
    assert restored(store, text(600)) == 512
    put(store, [*text(600), *text(50, seed=9)], owner=BOB)
    assert restored(store, [*text(600), *text(50, seed=9)]) == 650
    store.close()
    assert all(b"!ton" not in path.read_bytes() for path in (tmp_path / "kv").rglob("*") if path.is_file())


def test_a_forgotten_name_does_not_come_back_with_a_new_index(tmp_path: Path) -> None:
    store = Store(tmp_path / "kv", budget=1 << 30)
    put(store, text(512), owner=ANN)
    put(store, text(512), owner=BOB)
    store.forget(ANN)
    store.close()
    for path in (tmp_path / "kv").glob("index-*"):
        path.unlink()
    again = Store(tmp_path / "kv", budget=1 << 30)
    again.sweep()
    assert again.tier.index.wait(10)
    assert {usage.owner for usage in upkeep.summary(again).conversations} == {BOB}
    assert restored(again, text(512)) == 512
    assert b"ann" not in b"".join(path.read_bytes()[:HEADER_BYTES] for path in files(tmp_path / "kv"))


def test_a_forgotten_conversation_leaves_no_tokens_in_the_index(store: Store, tmp_path: Path) -> None:
    tokens = [0x6E6F7421] * 40
    put(store, tokens, owner=ANN)
    store.remember(ROOT, b"digest", tokens, ANN)
    store.forget(ANN)
    store.close()
    assert all(b"!ton" not in path.read_bytes() for path in (tmp_path / "kv").rglob("*") if path.is_file())


def test_a_model_is_cleared_alone(store: Store) -> None:
    put(store, text(300), label="one")
    put(store, text(300), root=OTHER_ROOT, label="two")
    assert upkeep.clear(store, "one").records == 2
    assert restored(store, text(300)) == 0
    assert restored(store, text(300), root=OTHER_ROOT) == 300
    assert upkeep.clear(store).records == 2
    assert upkeep.summary(store).bytes == 0


# --- the rest


def test_answers_are_recalled_as_they_were_generated(store: Store) -> None:
    store.remember(ROOT, b"a", [1, 2, 3], ANN)
    store.remember(ROOT, b"b", [4], BOB)
    assert store.recall(ROOT, [b"a", b"b", b"c"]) == {b"a": (1, 2, 3), b"b": (4,)}
    assert store.recall(OTHER_ROOT, [b"a"]) == {}


def test_answers_are_forgotten_the_longest_unused_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fireside_engine.kv_cache.outputs.MOST", 3)
    for number in range(3):
        store.remember(ROOT, b"%d" % number, [number], ANN)
    store.recall(ROOT, [b"0"])
    store.remember(ROOT, b"3", [3], ANN)
    store.remember(ROOT, b"4", [4], ANN)
    assert set(store.recall(ROOT, [b"%d" % number for number in range(5)])) == {b"0", b"3", b"4"}


def test_the_summary_tells_models_and_conversations_apart(store: Store) -> None:
    put(store, text(300), owner=ANN, label="one")
    put(store, text(300), owner=BOB, label="one")
    store.put([state_of(text(300), owner=BOB)])
    put(store, text(100), owner=BOB, root=OTHER_ROOT, label="two")
    store.used(store.lookup(ROOT, text(300)), 300, ANN)
    summary = upkeep.summary(store)
    assert [(usage.model, usage.tokens, usage.checkpoints, usage.bytes) for usage in summary.models] == [
        ("tiny", 300, 1, 3 * SIZE),
        ("two", 100, 0, SIZE),
    ]
    by_owner = {(usage.model, usage.owner): usage for usage in summary.conversations}
    assert by_owner["tiny", ANN].hits == 3
    assert by_owner["tiny", BOB].tokens == 300
    assert summary.records == 4
    assert summary.counts["written"] == 4


def test_pruning_removes_the_longest_unused(store: Store) -> None:
    for seed in range(4):
        put(store, text(256, seed))
    removed = upkeep.prune(store, 2 * SIZE)
    assert (removed.records, removed.bytes) == (2, 2 * SIZE)
    assert [restored(store, text(256, seed)) for seed in range(4)] == [0, 0, 256, 256]


def test_verify_removes_what_is_bad_and_nothing_else(store: Store, tmp_path: Path) -> None:
    for seed in range(6):
        put(store, text(256, seed))
    for path in files(tmp_path / "kv")[:2]:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    files(tmp_path / "kv")[5].unlink()
    seen: list[tuple[int, int]] = []
    verified = upkeep.verify(store, lambda done, total: seen.append((done, total)))
    assert verified.removed.records == 2
    assert verified.records == 5
    assert seen[-1] == (5 * SIZE, 5 * SIZE)
    assert len(files(tmp_path / "kv")) == 3
    assert upkeep.verify(store).removed.records == 0


def test_everything_is_its_owners_alone(store: Store, tmp_path: Path) -> None:
    put(store, text(300))
    for path in [tmp_path / "kv", *(tmp_path / "kv").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_deep_conversation_is_found_and_forgotten(store: Store, tmp_path: Path) -> None:
    tokens = text(BLOCK * 420)
    put(store, tokens, size=16)
    assert store.lookup(ROOT, tokens).n == len(tokens)
    assert store.forget(ANN).records == 420
    assert files(tmp_path / "kv") == []
