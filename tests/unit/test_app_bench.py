"""`fireside bench`: its prompts, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fireside import traffic
from fireside.commands import bench
from fireside.conversations.tree import Conversation
from fireside.failure import Failure


def test_the_built_in_prompts_are_of_all_kinds() -> None:
    names = [workload.name for workload in traffic.built_in()]
    assert names == ["edit", "json", "code", "prose", "agent"]
    edit = traffic.built_in()[0].body["messages"][0]["content"]
    assert len(edit.splitlines()) >= 60


def test_prompts_of_a_file(tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("first\nof two lines\n---\nsecond\n---\n\n")
    assert [w.body["messages"][0]["content"] for w in traffic.from_file(text)] == ["first\nof two lines", "second"]
    lines = tmp_path / "mine.jsonl"
    turns = [{"role": "user", "content": "a"}]
    lines.write_text(json.dumps({"messages": turns}) + "\n\n" + json.dumps({"prompt": "b"}) + "\n")
    assert [w.body["messages"] for w in traffic.from_file(lines)] == [turns, [{"role": "user", "content": "b"}]]


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x"}', '{"prompt": 3}'])
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"prompt": "a"}}\n{line}\n')
    with pytest.raises(Failure, match=r"mine\.jsonl:2"):
        traffic.from_file(path)


def test_a_file_that_cannot_be_read_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read"):
        traffic.from_file(tmp_path / "none")


def test_without_a_question_there_is_nothing_to_measure() -> None:
    with pytest.raises(Failure, match="nothing to measure"):
        bench.main([])
    with pytest.raises(Failure, match="no prompts"):
        bench.main(["--speculation", "--only", "nothing"])


def test_what_is_printed() -> None:
    result = {
        "name": "edit",
        "plain": 10.0,
        "drafts": 25.0,
        "ratio": 2.5,
        "draft_n": 100,
        "draft_n_accepted": 90,
        "sources": {"conversation": {"draft_n": 100, "draft_n_accepted": 90}},
        "same": 2,
        "rounds": 3,
        "speculation": "lookups and grammar",
    }
    machine = {
        "step_ms": 50.0,
        "ceiling": 3.5,
        "costs": [
            {"rows": 1, "steps": 1.0, "measured": True},
            {"rows": 8, "steps": 3.1, "measured": True},
            {"rows": 16, "steps": 4.6, "measured": False},
        ],
        "acceptance": {"conversation": {"judged": 200, "accepted": 150}},
        "draft_model": {"token_cost": 0.3, "acceptance": 0.7, "break_even": 0.85, "given_up": ""},
    }
    text = bench.render({"model": "m", "prompts": [result], "machine": machine})
    assert "8 rows 3.10   16 rows ~4.60" in text
    assert "15 drafts pay from 3.6 accepted ones on" in text
    assert "faster than 3.50 times" in text
    assert "a token costs 0.30 steps, 70% accepted, pays from 85%" in text
    assert "conversation: 75% of 200 judged tokens were right" in text
    assert text.splitlines()[-1].split() == [
        "edit", "10.0", "25.0", "2.50", "90", "of", "100", "conversation", "2", "of", "3",
    ]  # fmt: skip


def test_conversations_are_asked_up_to_their_last_question() -> None:
    talk = Conversation(system="Be brief.")
    talk.ask("What is a river?")
    talk.answer("Water.")
    talk.ask("And a lake?")
    talk.answer("More water.")
    silent = Conversation()
    (found,) = traffic.from_conversations([talk, silent])
    assert found.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a river?"},
        {"role": "assistant", "content": "Water."},
        {"role": "user", "content": "And a lake?"},
    ]
    assert "What is a river?" in found.name
