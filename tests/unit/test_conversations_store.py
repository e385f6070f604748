"""Conversations on disk: what is saved stays, for several programs at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fireside.account import Account
from fireside.conversations import database, schema
from fireside.conversations.database import Database, StoreFailure, default_path
from fireside.conversations.export import to_json, to_markdown
from fireside.conversations.store import Store, UnknownConversation
from fireside.conversations.tree import Conversation
from fireside.prompt import Material


@pytest.fixture
def store() -> Store:
    return Store()


def exchange(store: Store, question: str, answer: str, conversation: Conversation | None = None) -> Conversation:
    """A question and its answer, saved."""
    conversation = conversation or Conversation()
    conversation.ask(question)
    turn = conversation.answer(answer, model="tiny", account=Account(model="tiny", generated=3))
    store.save(conversation, [turn])
    return conversation


def test_a_conversation_comes_back_as_it_was(store: Store) -> None:
    conversation = Conversation(system="Be brief.", settings={"temperature": 0.5})
    question = conversation.ask("Why?", [Material("a.txt", "text"), Material("", "piped")])
    account = Account(model="tiny", ending="length", cached=3, prefilled=4, exact=True, rate=1.5)
    first = conversation.answer("Because.", reasoning="hm", model="tiny", settings={"seed": 7}, account=account)
    store.save(conversation, [question, first])
    conversation.go_back(question.id)
    second = conversation.answer("So.\udcff", model="other")
    store.save(conversation, [second])
    loaded = Store().load(conversation.id)
    conversation.amend(second, text="So.?")
    assert loaded == conversation
    assert list(loaded.turns) == [question.id, first.id, second.id]
    assert loaded.turns[second.id].broke_off


def test_turns_on_the_way_to_one_are_saved_with_it(store: Store) -> None:
    conversation = exchange(store, "q", "a")
    # Another program removed it while this one goes on with it.
    Store().remove([conversation.id])
    exchange(store, "q2", "a2", conversation)
    assert [turn.text for turn in store.load(conversation.id).path()] == ["q", "a", "q2", "a2"]


def test_an_answer_grows_while_it_is_written(store: Store) -> None:
    conversation = Conversation()
    question = conversation.ask("q")
    answer = conversation.answer("")
    for text in ("one", "one two", "one two three"):
        answer = conversation.amend(answer, text=text)
        store.save(conversation, [question, answer])
    assert Store().load(conversation.id).turns[answer.id].text == "one two three"
    assert len(store.search("one two")) == 1
    assert len(store.search("three")) == 1
    store.save(conversation, [conversation.amend(answer, text="other", account=Account())])
    assert store.search("three") == []


def test_lists_are_by_time_and_pinned_ones_first(store: Store) -> None:
    first, second, third = (exchange(store, f"question {n}", "a") for n in range(3))
    assert [entry.id for entry in store.summaries()] == [third.id, second.id, first.id]
    exchange(store, "again", "b", first)
    store.pin(second.id, True)
    listed = store.summaries()
    assert [(entry.id, entry.n_turns, entry.pinned) for entry in listed] == [
        (second.id, 2, True),
        (first.id, 4, False),
        (third.id, 2, False),
    ]
    assert (listed[1].title, listed[1].model) == ("question 0", "tiny")
    assert len(store.summaries(limit=2)) == 2
    assert store.last() == first.id


def test_names_are_resolved(store: Store) -> None:
    with pytest.raises(UnknownConversation, match="no conversation yet"):
        store.resolve("last")
    one, two = Conversation(id="abc1234567"), Conversation(id="abd1234567")
    for conversation in (one, two):
        exchange(store, "q", "a", conversation)
    assert store.resolve("abc") == store.resolve(" ABC1234567 ") == one.id
    assert store.resolve("last") == two.id
    with pytest.raises(UnknownConversation, match="More than one"):
        store.resolve("ab")
    for word in ("x", "%", "_bc", "abc1234567z", "' OR 1=1 --"):
        with pytest.raises(UnknownConversation, match="no conversation"):
            store.resolve(word)


def test_titles(store: Store) -> None:
    conversation = exchange(store, "first words", "a")
    store.rename(conversation.id, "Mine")
    assert store.load(conversation.id).named == "Mine"
    # A program that loaded it before the renaming does not take the name away.
    exchange(store, "more", "b", conversation)
    assert store.summaries()[0].title == "Mine"
    assert [(hit.role, hit.title) for hit in store.search("mine")] == [("title", "Mine")]
    store.rename(conversation.id, "")
    assert store.summaries()[0].title == "first words"


def test_a_removed_branch_takes_what_is_below_it(store: Store) -> None:
    conversation = exchange(store, "q", "a")
    keep = conversation.leaf
    exchange(store, "gone one", "gone two", conversation)
    gone = conversation.branch(conversation.path()[2].id)
    other = Store().load(conversation.id)
    exchange(store, "gone three", "gone four", other)
    conversation.go_back(keep)
    conversation.forget(gone)
    store.discard(conversation, gone[:1])
    assert [turn.text for turn in store.load(conversation.id).path()] == ["q", "a"]
    assert store.search("gone") == []
    conversation.go_back(None)
    store.discard(conversation, [conversation.path(keep)[0].id])
    assert store.summaries() == []


def test_a_turn_added_below_a_removed_one_is_not_lost(store: Store) -> None:
    conversation = exchange(store, "q", "a")
    database_ = Database(default_path())
    with database_.transaction() as connection:
        connection.execute("DELETE FROM turns WHERE role = 'user'")
    assert [turn.text for turn in store.load(conversation.id).path()] == ["a"]


def test_removal_leaves_no_word_in_the_file(store: Store) -> None:
    kept = exchange(store, "kept words", "a")
    gone = exchange(store, "Geheimniskrämerei everywhere", "xylophone " * 300)
    store.remove([gone.id])
    store.close()
    content = default_path().read_bytes()
    assert b"kept words" in content
    for word in (b"xyloph", "niskrä".encode(), b"geheimniskr"):
        assert word not in content
    assert [entry.id for entry in Store().summaries()] == [kept.id]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("lifetimes", ["Rust lifetimes, Ünïcode"]),
        ("LIFE", ["Rust lifetimes, Ünïcode"]),
        ("unicode rust", ["Rust lifetimes, Ünïcode"]),
        ("fetim", ["Rust lifetimes, Ünïcode"]),
        ("调整", ["额度调整链的搜索"]),
        ("额度调整", ["额度调整链的搜索"]),
        ("c++", ["I like C++ more"]),
        ('"like c++"', ["I like C++ more"]),
        ('"c++ like"', []),
        ("100%", ["It costs 100% of a_b"]),
        ("a_b", ["It costs 100% of a_b"]),
        ("é", ["Cafe"]),
        ("Привет", ["привет мир"]),
        ("AND", []),
        ('"', []),
        ("words^2 (x", []),
    ],
)
def test_search(store: Store, query: str, found: list[str]) -> None:
    texts = [
        "Rust lifetimes, Ünïcode",
        "额度调整链的搜索",
        "I like C++ more",
        "It costs 100% of a_b",
        "Cafe",
        "привет мир",
    ]
    ids = {text: exchange(store, text, "ok").id for text in texts}
    hits = store.search(query)
    assert {hit.title for hit in hits} >= set(found)
    if not found:
        assert hits == []
    for text in found:
        assert store.search(query, within=ids[text])
    assert all(hit.excerpt.marks for hit in hits)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_no_query_breaks_the_search(store: Store, query: str) -> None:
    store.search(query)


def test_only_the_owner_can_read_it(store: Store) -> None:
    exchange(store, "q", "a")
    assert stat.S_IMODE(default_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(default_path().parent.stat().st_mode) == 0o700


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d" / "c.db"
    Database(path, (*schema.STEPS,)).close()
    grown = Database(path, (*schema.STEPS, "CREATE TABLE more (x);\nINSERT INTO more VALUES (';');"))
    assert grown.rows("SELECT x FROM more")[0][0] == ";"
    grown.close()
    with pytest.raises(StoreFailure, match="newer fireside"):
        Database(path)
    # A step that fails leaves the version before it.
    with pytest.raises(StoreFailure):
        Database(path, (*schema.STEPS, "", "CREATE TABLE again (x); CREATE TABLE more (x);"))
    again = Database(path, (*schema.STEPS, ""))
    assert again.rows("SELECT name FROM sqlite_master WHERE name = 'again'") == []
    again.close()


def test_what_is_in_the_way_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = tmp_path / "x" / "c.db"
    garbage.parent.mkdir()
    garbage.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreFailure, match="cannot be read"):
        Store(garbage)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailure, match="cannot be kept"):
        Store(tmp_path / "file" / "c.db")
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    store = Store(tmp_path / "busy" / "c.db")
    other = sqlite3.connect(tmp_path / "busy" / "c.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreFailure, match="in use"):
        exchange(store, "q", "a")
    other.execute("ROLLBACK")
    exchange(store, "q", "a")


def test_threads_of_one_program(store: Store) -> None:
    def write(number: int) -> None:
        for at in range(5):
            exchange(store, f"thread {number} {at}", "a")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.summaries()) == 20


WRITER = """
import sys, time
from fireside.account import Account
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
store, conversation, name = Store(), None, sys.argv[1]
conversation = store.load(sys.argv[2]) if len(sys.argv) > 2 else Conversation()
number = 0
while True:
    conversation.ask(f"{name}-{number} " + "q" * 2000)
    answer = conversation.answer("a" * 3000, account=Account())
    store.save(conversation, [answer])
    print(conversation.id, conversation.leaf, flush=True)
    number += 1
    time.sleep(0.03)
"""


def test_nothing_that_was_called_saved_is_lost_when_writers_are_killed(store: Store) -> None:
    shared = exchange(store, "shared", "a")
    said: list[tuple[str, str]] = []
    for round_ in range(3):
        words = [["one"], ["two"], ["three", shared.id], ["four", shared.id]]
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, *more], stdout=subprocess.PIPE, text=True) for more in words
        ]
        lines: list[list[str]] = [[] for _ in writers]
        for writer, seen in zip(writers, lines, strict=True):
            assert writer.stdout is not None
            # Killed at any point of what comes after this one.
            seen += [writer.stdout.readline() for _ in range(2 + round_)]
        for writer, seen in zip(writers, lines, strict=True):
            os.kill(writer.pid, signal.SIGKILL)
            assert writer.stdout is not None
            seen += writer.stdout.readlines()
            writer.stdout.close()
            writer.wait()
        for seen in lines:
            for line in seen:
                if line.endswith("\n"):
                    conversation, leaf = line.split()
                    said.append((conversation, leaf))
    reader = Store()
    assert len(said) >= 3 * 4 * 2
    for conversation, leaf in said:
        path = reader.load(conversation).path(leaf)
        assert path[-1].text == "a" * 3000
        assert path[0].role == "user"
    assert reader.database.rows("PRAGMA integrity_check")[0][0] == "ok"
    for index in ("words", "trigrams"):
        with reader.database.transaction() as connection:
            connection.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")


def test_documents(store: Store) -> None:
    conversation = Conversation(system="Be *brief*.")
    conversation.ask("Why?\n", [Material("a b\x07.txt", "with ``` in it"), Material("", "piped\n")])
    conversation.answer("Because.", reasoning="hm", model="tiny", account=Account(model="tiny", generated=3, rate=2.0))
    conversation.ask("And?")
    conversation.answer("So")
    text = to_markdown(conversation)
    parts = [
        "# Why?",
        "## System\n\nBe *brief*.",
        "`a b.txt`:\n\n````\nwith ``` in it\n````",
        "## tiny\n\n",
        "Thinking",
    ]
    for part in [*parts, "Because.\n\n*tiny · 3 tokens at 2.0 tok/s*", "## Model\n\nSo\n\n*broke off*\n"]:
        assert part in text
    data = to_json(conversation)
    assert [turn["shown"] for turn in data["turns"]] == [True] * 4
    conversation.go_back(None)
    assert [turn["shown"] for turn in to_json(conversation)["turns"]] == [False] * 4
    assert data["turns"][0]["materials"][1] == {"name": "", "text": "piped\n"}
