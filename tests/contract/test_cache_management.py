"""`/fireside/cache` and `fireside cache`, against a real store and an engine without any loaded model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_driver import fireside
from fake_engine import Running, running, until, write_model
from fireside.conversations.store import Store as Conversations
from fireside.conversations.tree import Conversation
from fireside_engine import address
from fireside_engine.core.blocks import BLOCK, root_key
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache.record import HEADER_BYTES
from fireside_engine.kv_cache.store import Store
from fireside_engine.server import cache as server_cache
from kv_faults import OTHER_ROOT, PAYLOAD, ROOT, files, restored, rows_of, state_of, text

SIZE = HEADER_BYTES + PAYLOAD
KEYED = Owner("0123456789abcdef", "theirs")


def directory() -> Path:
    return address.cache_dir() / "kv"


@pytest.fixture
def store() -> Iterator[Store]:
    """Models `tiny` and `Two`, three conversations; 512 tokens are shared by both of `tiny`."""
    store = Store(directory(), budget=1 << 30)
    shared = text(2 * BLOCK)
    store.put(rows_of(shared + text(100, 1), owner=Owner("", "ours")))
    store.put([*rows_of(shared + text(100, 2), owner=KEYED), state_of(shared, owner=KEYED)])
    store.put(rows_of(text(300, 3), root=OTHER_ROOT, owner=Owner(""), label="Two"))
    store.used(store.lookup(ROOT, shared), 2 * BLOCK, Owner("", "ours"))
    yield store
    store.close()


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    write_model("small")
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(home / "journal"))
    with running(home / "journal") as engine:
        yield engine


def post(engine: Running, what: str, body: object = None) -> object:
    reply = engine.ask("POST", f"/fireside/cache/{what}", {} if body is None else body, owner=True)
    assert reply.status == 200, reply.body
    return reply.json


def show(engine: Running) -> dict[str, object]:
    reply = engine.ask("GET", "/fireside/cache", owner=True)
    assert reply.status == 200, reply.body
    return reply.json  # type: ignore[no-any-return]


def test_an_empty_cache_is_shown(engine: Running) -> None:
    report = show(engine)
    assert (report["bytes"], report["records"], report["models"], report["enabled"]) == (0, 0, [], True)
    done = fireside("cache")
    assert done.code == 0
    assert b"0 B of" in done.out
    assert fireside("cache", "verify").out == b"0 records, 0 B: all as they were written.\n"
    assert fireside("cache", "clear").out == b"There was nothing to remove.\n"


def test_models_and_conversations_are_shown(engine: Running, store: Store) -> None:
    report = show(engine)
    assert report["bytes"] == 7 * SIZE
    models = {usage["model"]: usage for usage in report["models"]}  # type: ignore[attr-defined]
    assert (models["tiny"]["tokens"], models["tiny"]["checkpoints"]) == (2 * BLOCK + 200, 1)
    assert models["Two"]["bytes"] == 2 * SIZE
    by_name = {(usage["tenant"], usage["conversation"]): usage for usage in report["conversations"]}  # type: ignore[attr-defined]
    assert by_name["", "ours"]["hits"] > 0
    assert by_name["", "ours"]["tokens"] == 2 * BLOCK + 100
    assert "owner" not in by_name["", ""]


def test_the_table_names_conversations_by_their_titles(engine: Running, store: Store) -> None:
    conversation = Conversation(named="About kites")
    turn = conversation.ask("hello")
    conversations = Conversations()
    conversations.save(conversation, [turn])
    conversations.close()
    store.put(rows_of(text(300, 4), owner=Owner("", conversation.id)))
    out = fireside("cache", "show").out.decode()
    for part in (
        f"{conversation.id} About kites",
        "without a conversation",
        "theirs (API key 01234567)",
        "612 + 1 checkpoint ",
        "Two",
    ):
        assert part in out, out
    assert json.loads(fireside("cache", "--json").out)["records"] == 9


def test_a_long_list_of_conversations_is_cut_unless_all_are_asked_for(engine: Running) -> None:
    store = Store(directory(), budget=1 << 30)
    for number in range(25):
        store.put(rows_of([number + 1, 2, 3], owner=Owner("", f"name-of-conversation-{number}")))
    store.close()
    assert b"and 5 more" in fireside("cache", "show").out
    whole = fireside("cache", "show", "--all").out
    assert b"more" not in whole
    assert whole.count(b"name-of-conversa\xe2\x80\xa6") == 25


def test_forgetting_removes_what_only_that_conversation_used(engine: Running, store: Store) -> None:
    assert post(engine, "forget", {"conversation": "ours"}) == {"records": 1, "bytes": SIZE}
    assert post(engine, "forget", {"conversation": "ours"}) == {"records": 0, "bytes": 0}
    assert restored(store, text(2 * BLOCK) + text(100, 2)) == 2 * BLOCK + 100
    done = fireside("cache", "forget", "theirs", "nothing")
    assert (done.code, done.out) == (0, f"Removed 4 records, {4 * SIZE / 1000:.1f} kB.\n".encode())
    assert len(files(directory())) == 2


def test_forgetting_may_be_for_one_tenant_only(engine: Running, store: Store) -> None:
    store.put(rows_of(text(50, 9), owner=Owner("", "theirs")))
    assert post(engine, "forget", {"conversation": "theirs", "tenant": ""}) == {"records": 1, "bytes": SIZE}
    assert restored(store, text(2 * BLOCK) + text(100, 2)) == 2 * BLOCK + 100


def test_clearing_one_model_leaves_the_others(engine: Running, store: Store) -> None:
    reply = engine.ask("POST", "/fireside/cache/clear", {"model": "three"}, owner=True)
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")
    assert "Two, tiny" in reply.json["error"]["hint"]
    assert fireside("cache", "clear", "three").code == 4
    assert fireside("cache", "clear", "two").out == f"Removed 2 records, {2 * SIZE / 1000:.1f} kB.\n".encode()
    assert restored(store, text(300, 3), root=OTHER_ROOT) == 0
    assert json.loads(fireside("cache", "clear", "--json").out) == {"records": 5, "bytes": 5 * SIZE}
    assert files(directory()) == []


def test_a_model_may_be_named_as_it_is_asked(engine: Running, store: Store) -> None:
    """The cache knows the file's name; people know the name in the catalogue."""
    store.put(rows_of(text(10, 8), root=root_key({"model": "small"}), label="small"))
    assert post(engine, "clear", {"model": "Small.gguf"}) == {"records": 1, "bytes": SIZE}


def test_pruning_leaves_the_last_used(engine: Running, store: Store) -> None:
    done = fireside("cache", "prune", "--to", f"{3 * SIZE}")
    assert (done.code, done.out) == (0, f"Removed 4 records, {4 * SIZE / 1000:.1f} kB.\n".encode())
    assert len(files(directory())) == 3
    for wrong in ("much", "-1", "2i", ""):
        assert fireside("cache", "prune", f"--to={wrong}").code == 2
    assert b"such as 2GB" in fireside("cache", "prune", "--to", "much").err
    assert b"--to" in fireside("cache", "prune").err
    assert engine.ask("POST", "/fireside/cache/prune", {"to": -1}, owner=True).status == 400
    assert post(engine, "prune", {"to": "0 B"}) == {"records": 3, "bytes": 3 * SIZE}


def test_verify_tells_how_far_it_is_and_what_it_removed(engine: Running, store: Store) -> None:
    events = engine.ask("POST", "/fireside/cache/verify", {}, owner=True).body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    first, last = (json.loads(event.removeprefix("data: ")) for event in (events[0], events[-3]))
    assert set(first) == {"done", "total"}
    assert last == {"verified": {"records": 7, "bytes": 7 * SIZE, "removed": {"records": 0, "bytes": 0}}}
    for path in files(directory())[:2]:
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = fireside("cache", "verify")
    assert done.code == 1
    assert done.out.startswith(b"2 of 7 records were damaged and are removed")
    again = fireside("cache", "verify", "--json")
    assert again.code == 0
    assert json.loads(again.out)["records"] == 5


def test_a_verification_ends_when_nobody_waits_for_it(
    engine: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = server_cache.upkeep.verify

    def slow(store: Store, progress: object, stop: object) -> object:
        while not stop():  # type: ignore[operator]
            asked.append(1)
            server_cache.threading.Event().wait(0.01)
        asked.append(0)
        return real(store, None, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(server_cache.upkeep, "verify", slow)
    with engine.begin("POST", "/fireside/cache/verify", {}, owner=True) as opened:
        opened.response.readline()
    for _ in range(1000):
        if asked and asked[-1] == 0:
            break
        server_cache.threading.Event().wait(0.01)
    else:
        pytest.fail("the verification went on")


def test_an_index_that_is_gone_is_made_again_before_the_answer(engine: Running, store: Store) -> None:
    for path in directory().glob("index-*"):
        path.unlink()
    report = show(engine)
    assert report["records"] == 7
    assert report["counts"]["rebuilds"] == 1  # type: ignore[index]


def test_a_disk_that_fails_is_told_to_who_manages_it(engine: Running, home: Path) -> None:
    directory().parent.mkdir(exist_ok=True)
    directory().write_text("a file where the directory should be")
    reply = engine.ask("GET", "/fireside/cache", owner=True)
    assert (reply.status, reply.json["error"]["code"]) == (503, "cache_unavailable")
    done = fireside("cache", "show")
    assert done.code == 3
    assert b"Answers go on without it" in done.err


def test_a_disk_that_hangs_does_not_hang_the_engine(
    engine: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = server_cache.threading.Event()
    monkeypatch.setattr(server_cache, "LIMIT", 0.1)
    monkeypatch.setattr(server_cache.Cache._ask, "__kwdefaults__", {"limit": 0.1})
    monkeypatch.setattr(server_cache.upkeep, "summary", lambda store: let_go.wait(30))
    reply = engine.ask("GET", "/fireside/cache", owner=True)
    assert (reply.status, reply.json["error"]["code"]) == (503, "cache_unavailable")
    let_go.set()


def test_the_configuration_decides(engine: Running, store: Store) -> None:
    path = address.config_dir() / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[cache]\nenabled = false\nbudget = "5MB"\n')
    report = show(engine)
    assert (report["enabled"], report["budget"]) == (False, 5_000_000)
    assert b"config.toml turns it off" in fireside("cache").out
    path.write_text('[cache]\nbudget = "plenty"\n')
    done = fireside("cache")
    assert done.code == 2
    assert b"cache.budget" in done.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["cache", "shwo"], [b"Unknown command: cache shwo", b"Did you mean `show`?"]),
        (["cache", "forget"], [b"ID", b"fireside cache forget --help"]),
        (["cache", "verify", "x"], [b"Unexpected argument: x"]),
    ],
)
def test_mistakes_are_explained(words: list[str], parts: list[bytes]) -> None:
    done = fireside(*words)
    assert (done.code, done.out) == (2, b"")
    for part in parts:
        assert part in done.err


def test_help() -> None:
    whole = fireside("cache", "--help")
    assert whole.code == 0
    for command in ("show", "verify", "prune", "forget", "clear"):
        assert command.encode() in whole.out
        assert fireside("cache", command, "--help").code == 0


def test_a_body_with_a_misspelled_field_removes_nothing(engine: Running, store: Store) -> None:
    """`{"modle": "one"}` must not clear everything."""
    assert engine.ask("POST", "/fireside/cache/clear", {"modle": "one"}, owner=True).status == 400
    assert engine.ask("POST", "/fireside/cache/forget", {}, owner=True).status == 400
    assert len(files(directory())) == 7


def test_loaded_models_hear_of_what_was_deleted(engine: Running, store: Store) -> None:
    assert engine.chat("words=1").status == 200
    post(engine, "forget", {"conversation": "theirs"})
    post(engine, "forget", {"conversation": "in memory only"})
    post(engine, "clear")
    until(lambda: len(engine.noted("forget")) == 4)
    told = sorted(line.split()[1:-1] for line in engine.noted("forget"))
    assert told == [
        ["/in", "memory", "only", "True"],
        ["/theirs", "True"],
        ["0123456789abcdef/theirs", "True"],
        ["anybody", "False"],
    ]
