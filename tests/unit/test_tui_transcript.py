"""The conversation as data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.tui.transcript import Conversation, PromptHistory


def roles(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in conversation.path()]


def test_what_a_model_reads() -> None:
    conversation = Conversation(system="Be brief.")
    conversation.ask("one")
    conversation.answer("1", reasoning="hm")
    conversation.ask("two")
    assert conversation.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]


def test_a_retry_keeps_the_first_answer_beside_the_second() -> None:
    conversation = Conversation()
    conversation.ask("q")
    first = conversation.answer("a")
    question = conversation.retry()
    assert question is not None
    second = conversation.answer("b")
    assert roles(conversation) == [("user", "q"), ("assistant", "b")]
    assert (first.parent, second.parent) == (question.id, question.id)
    assert first in conversation.turns


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
    assert Conversation().last_answer() is None


@pytest.mark.parametrize(("text", "title"), [("", ""), ("\n  Hello \nthere", "Hello"), ("x" * 80, "x" * 59 + "…")])
def test_the_title(text: str, title: str) -> None:
    conversation = Conversation()
    conversation.ask(text)
    assert conversation.title == title


@given(st.lists(st.sampled_from(["ask", "answer", "retry", "back"]), max_size=30))
def test_turns_are_only_appended_and_paths_alternate(steps: list[str]) -> None:
    conversation = Conversation()
    for number, step in enumerate(steps):
        before = list(conversation.turns)
        last = conversation.last
        if step == "ask" and (last is None or last.role == "assistant"):
            conversation.ask(str(number))
        elif step == "answer" and last is not None and last.role == "user":
            conversation.answer(str(number))
        elif step == "retry":
            conversation.retry()
        elif step == "back" and last is not None:
            conversation.go_back(last.parent)
        assert conversation.turns[: len(before)] == before
        path = [turn.role for turn in conversation.path()]
        assert path == ["user", "assistant"] * (len(path) // 2) + ["user"] * (len(path) % 2)


def test_history_walks_and_keeps_the_draft() -> None:
    history = PromptHistory()
    for text in ("one", "two", "two"):
        history.add(text)
    assert history.older("draft") == "two"
    assert history.older("two") == "one"
    assert history.older("one") is None
    assert history.newer() == "two"
    assert history.newer() == "draft"
    assert history.newer() is None


def test_an_empty_history() -> None:
    history = PromptHistory()
    assert history.older("x") is None
    assert history.newer() is None
