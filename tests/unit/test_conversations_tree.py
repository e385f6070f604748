"""The conversation as data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.account import Account
from fireside.conversations.tree import Conversation
from fireside.prompt import Material


def roles(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in conversation.path()]


def test_what_a_model_reads() -> None:
    conversation = Conversation(system="Be brief.")
    conversation.ask("one")
    conversation.answer("1", reasoning="hm")
    conversation.ask("two", [Material("a.txt", "text")])
    assert conversation.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "a.txt:\n```\ntext\n```\n\ntwo"},
    ]


def test_a_retry_keeps_the_first_answer_beside_the_second() -> None:
    conversation = Conversation()
    conversation.ask("q")
    first = conversation.answer("a")
    question = conversation.retry()
    assert question is not None
    second = conversation.answer("b")
    assert roles(conversation) == [("user", "q"), ("assistant", "b")]
    assert conversation.siblings(second) == [first, second]


def test_an_edited_question_is_a_branch_and_its_newest_leaf_is_found_again() -> None:
    conversation = Conversation()
    first = conversation.ask("q")
    conversation.answer("a")
    conversation.ask("more")
    end = conversation.answer("b")
    conversation.go_back(first.parent)
    edited = conversation.ask("q2")
    conversation.answer("c")
    assert conversation.siblings(edited) == [first, edited]
    assert conversation.newest_leaf(first.id) == end.id
    conversation.go_back(conversation.newest_leaf(first.id))
    assert [text for _, text in roles(conversation)] == ["q", "a", "more", "b"]
    assert [conversation.turns[id_].text for id_ in conversation.branch(edited.id)] == ["q2", "c"]


def test_what_came_after_the_turn_one_goes_back_to_is_not_read_but_kept() -> None:
    conversation = Conversation()
    conversation.ask("q")
    leaf = conversation.answer("a").id
    conversation.ask("oops")
    conversation.answer("partial")
    conversation.go_back(leaf)
    assert roles(conversation) == [("user", "q"), ("assistant", "a")]
    assert len(conversation.turns) == 4
    conversation.go_back(None)
    assert conversation.messages() == []


def test_an_answer_needs_a_question() -> None:
    with pytest.raises(ValueError, match="question"):
        Conversation().answer("a")


def test_nothing_to_retry() -> None:
    assert Conversation().retry() is None


def test_an_answer_without_an_account_broke_off() -> None:
    conversation = Conversation()
    question = conversation.ask("q")
    answer = conversation.answer("half")
    assert answer.broke_off
    assert not question.broke_off
    assert not conversation.amend(answer, account=Account(ending="stopped")).broke_off
    assert conversation.amend(answer, account=Account(ending="failed")).broke_off


@pytest.mark.parametrize(
    ("text", "title"),
    [("\n\n  one \ntwo", "one"), ("x" * 61, "x" * 59 + "…"), ("", ""), ("word " * 20, "word " * 11 + "word…")],
)
def test_the_title_is_the_first_line(text: str, title: str) -> None:
    conversation = Conversation()
    conversation.ask(text)
    assert conversation.title == title


def test_a_question_of_files_alone_is_titled_by_their_names() -> None:
    conversation = Conversation()
    conversation.ask("", [Material("a.py", "x"), Material("b.py", "y")])
    assert conversation.title == "a.py, b.py"
    conversation.named = "Mine"
    assert conversation.title == "Mine"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=30), st.data())
def test_a_fork_reads_the_same_and_shares_no_turn(steps: list[tuple[bool, int]], data: st.DataObject) -> None:
    conversation = Conversation(system="S")
    for number, (go_back, where) in enumerate(steps):
        turns = list(conversation.turns)
        if go_back and turns:
            conversation.go_back(turns[where % len(turns)])
        if conversation.last is not None and conversation.last.role == "user":
            conversation.answer(f"a{number}")
        else:
            conversation.ask(f"q{number}")
    if not conversation.turns:
        return
    leaf = data.draw(st.sampled_from(list(conversation.turns)))
    before = len(conversation.turns)
    copy = conversation.fork(leaf)
    conversation.go_back(leaf)
    assert copy.messages() == conversation.messages()
    assert not set(copy.turns) & set(conversation.turns)
    assert copy.id != conversation.id
    assert len(conversation.turns) == before
    # Every turn is the root of a branch that holds exactly the turns that have it on their path.
    for id_ in conversation.turns:
        expected = {other for other in conversation.turns if id_ in {t.id for t in conversation.path(other)}}
        assert set(conversation.branch(id_)) == expected
        assert conversation.newest_leaf(id_) in expected
