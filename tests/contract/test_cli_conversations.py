"""Conversations on the command line, in processes of their own: saved, continued, found, exported, removed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_driver import Terminal, fireside, serving, start, to_end, until
from fireside.conversations.store import Store
from scripted_engine import Script


def ids() -> list[str]:
    return [json.loads(line)["id"] for line in fireside("ls", "--json").out.splitlines()]


def test_a_question_is_saved_and_goes_on() -> None:
    with serving(Script(text=["An ", "answer."])) as engine:
        assert fireside("run", "-s", "Be brief.", "-f", "-", "one", stdin=b"piped").code == 0
        assert fireside("run", "-m", "other", "another").code == 0
        newest, oldest = ids()
        assert fireside("run", "-c", "two").code == 0
        assert engine.last_asked["model"] == "other"
        assert fireside("run", "--cid", oldest[:6], "-t", "0.5", "three").code == 0
        content = [message["content"] for message in engine.last_asked["messages"]]
        assert content == ["Be brief.", "```\npiped\n```\n\none", "An answer.", "three"]
        assert engine.last_asked["fireside"] == {"conversation": oldest, "save": True}
        assert ids() == [oldest, newest]
        done = fireside("show", oldest)
        assert done.code == 0
        for part in (b"# one", b"## You", b"three", b"## tiny", b"An answer.", b"4 from cache + 8 read"):
            assert part in done.out
        turns = json.loads(fireside("show", "--json", "last").out)["turns"]
        assert turns[-1]["settings"] == {"system": "Be brief.", "temperature": 0.5}
        assert turns[-1]["account"]["seed"] == 7
        assert fireside("show", "-a").out == b"An answer.\n"


def test_nothing_is_kept_of_what_is_not_to_be_saved(home: Path) -> None:
    with serving():
        assert fireside("run", "--no-save", "hi").out == b"hi\n"
        assert not (home / "data").exists()
        done = fireside("ls")
        assert (done.code, done.out) == (0, b"")
        assert b"no conversations yet" in done.err


def test_there_is_nothing_to_continue() -> None:
    with serving() as engine:
        done = fireside("run", "-c", "hi")
        assert (done.code, done.out) == (2, b"")
        assert b"There is no conversation yet." in done.err
        assert b"no conversation that begins" in fireside("run", "--cid", "zz", "hi").err
        assert engine.requests == []


def test_what_came_of_an_answer_that_broke_off_is_saved() -> None:
    died = {"code": "worker_crashed", "message": "Died."}
    with serving() as engine:
        fireside("run", "first")
        engine.script = Script(["half", "x"], stop_at=1, error=died)
        assert fireside("run", "-c", "second").code == 3
        engine.script = Script([], stop_at=0, error=died)
        assert fireside("run", "-c", "nothing comes of it").code == 3
        engine.script = Script()
        fireside("run", "-c", "third")
        content = [message["content"] for message in engine.last_asked["messages"]]
        assert content == ["first", "first", "second", "half", "third"]
        turns = json.loads(fireside("show", "--json").out)["turns"]
        assert [turn["account"]["ending"] for turn in turns if turn["text"] == "half"] == ["failed"]


def test_an_interrupted_answer_is_saved_and_read_by_the_next() -> None:
    with serving(Script(["half", "x"], stop_at=1, hang=True)) as engine:
        process = start("run", "first")
        assert process.stdout is not None
        assert process.stdout.read(4) == b"half"
        process.send_signal(signal.SIGINT)
        assert to_end(process).code == 130
        engine.script = Script()
        fireside("run", "-c", "second")
        assert [message["content"] for message in engine.last_asked["messages"]] == ["first", "half", "second"]


def test_a_question_of_which_nothing_came_leaves_nothing() -> None:
    with serving(Script(error={"code": "overloaded", "message": "Full."}, status=429)):
        assert fireside("run", "hi").code == 3
    assert ids() == []


def test_what_cannot_be_saved_costs_no_answer(home: Path) -> None:
    (home / "data").write_text("in the way")
    with serving():
        done = fireside("run", "hi")
    assert (done.code, done.out) == (0, b"hi\n")
    assert b"not saved" in done.err


def test_search(terminal: Terminal) -> None:
    with serving(Script(text=["The borrow \x1b[31mchecker"])):
        fireside("run", "Why does this fail?")
        fireside("run", "额度调整链")
    done = fireside("search", "borr", "CHECK")
    assert done.code == 0
    assert done.out.count(b"\n") == 4
    assert "Why does this fail?" in done.out.decode()
    assert "model, now: The borrow checker" in done.out.decode()
    hit = json.loads(fireside("search", "--json", "调整").out)
    assert (hit["role"], hit["marks"]) == ("user", [[2, 4]])
    assert fireside("search", "--in", hit["conversation"], "fail").err == b"fireside: nothing found\n"
    environment = {**os.environ, "TERM": "xterm"}
    assert to_end(start("search", "调整", stdout=terminal.slave, env=environment)).code == 0
    assert "额度\x1b[1m调整\x1b[0m链" in terminal.drain().decode()


def test_export(tmp_path: Path) -> None:
    with serving(Script(text=["```py\nx\n```"])):
        for question in ("A/b: ../ \x00question?", "second"):
            fireside("run", question.replace("\0", ""))
    second, first = ids()
    assert fireside("export", first).out.startswith(b"# A/b: ../ question?\n")
    assert len(json.loads(fireside("export", "--all", "--format", "json").out)) == 2
    target = tmp_path / "out"
    done = fireside("export", "--all", "-o", f"{target}/")
    assert (done.code, done.out) == (0, b"")
    assert b"2 conversations" in done.err
    assert sorted(path.name for path in target.iterdir()) == [f"a-b-question-{first}.md", f"second-{second}.md"]
    assert fireside("export", second, "-o", "one.json", cwd=tmp_path).code == 0
    assert json.loads((tmp_path / "one.json").read_text())["id"] == second
    assert fireside("export").code == 2
    assert fireside("show", second, "-x").out == b"x\n"
    done = fireside("show", second, "-x", "rust")
    assert (done.code, done.out, b"no rust code block" in done.err) == (1, b"", True)


def test_removal_reaches_the_engine_also_later() -> None:
    with serving() as engine:
        for question in ("one", "two", "three"):
            fireside("run", question)
        three, two, one = ids()
        done = fireside("rm", three)
        assert done.out.decode() == f"Removed {three}  three\n"
        assert engine.requests[-1] == ("/fireside/cache/forget", {"conversation": three})
        assert engine.authorized[-1]
    assert fireside("rm", two, "zzz").code == 2
    assert ids() == [two, one]
    assert fireside("rm", two, two).code == 0
    assert fireside("rm", "--all").code == 2
    with serving() as engine:
        assert fireside("rm", "--all", "--yes").code == 0
        assert sorted(body["conversation"] for _, body in engine.requests) == sorted([two, one])
    assert ids() == []
    assert Store().removed() == []


def test_an_older_engine_has_nothing_to_forget() -> None:
    with serving() as engine:
        fireside("run", "one")
        engine.script.manages = False
        done = fireside("rm", "last")
        assert (done.code, done.err) == (0, b"")
        assert Store().removed() == []


def test_plain_chat_is_saved_and_goes_on() -> None:
    with serving(Script(text=["Yes."])) as engine:
        fireside("chat", "--plain", "-s", "Be brief.", stdin=b"one\n/new\ntwo\n")
        _, oldest = ids()
        assert fireside("chat", "--plain", "-c", oldest, stdin=b"three\n").code == 0
        content = [message["content"] for message in engine.last_asked["messages"]]
        assert content == ["Be brief.", "one", "Yes.", "three"]
        assert fireside("chat", "--plain", "-c", "--no-save", stdin=b"four\n").code == 0
        assert len(json.loads(fireside("show", "--json", oldest).out)["turns"]) == 4


def test_many_at_once_and_none_is_lost() -> None:
    with serving():
        processes = [start("run", f"question {number}") for number in range(6)]
        killed = start("run", "killed")
        killed.kill()
        to_end(killed)
        for process in processes:
            assert to_end(process).code == 0
        until(lambda: len(ids()) >= 6)
    titles = {json.loads(line)["title"] for line in fireside("ls", "--json").out.splitlines()}
    assert titles >= {f"question {number}" for number in range(6)}


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()
