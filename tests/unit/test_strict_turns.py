"""Rewriting turns for strict templates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.request import Message
from fireside_engine.core.strict_turns import (
    merge_neighbours,
    rewritings,
    system_first,
    system_in_user,
    system_was_dropped,
    tools_in_text,
    turn_dicts,
    user_first,
)

CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}

messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.text(alphabet="abc ", max_size=6).map(str.strip),
    tool_calls=st.sampled_from([(), (), (CALL,)]),
)
conversations = st.lists(messages, max_size=8).map(
    lambda turns: tuple(m if m.role == "assistant" else Message(m.role, m.content) for m in turns)
)


def words(turns: tuple[Message, ...]) -> list[str]:
    return sorted(" ".join(turn.content for turn in turns).split())


def test_members_are_as_in_transformers() -> None:
    turns = (
        Message("user", "hi"),
        Message("assistant", "", reasoning="hm", tool_calls=(CALL,)),
        Message("tool", "3", name="add", tool_call_id="c1"),
    )
    assert turn_dicts(turns) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "3", "name": "add", "tool_call_id": "c1"},
    ]


def test_arguments_as_text() -> None:
    (turn,) = turn_dicts([Message("assistant", tool_calls=(CALL, {"odd": 1}))], arguments_as_text=True)
    assert turn["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert turn["tool_calls"][1] == {"odd": 1}
    assert CALL["function"]["arguments"] == {"a": 1}, "the request itself is never changed"


@given(conversations)
def test_merging_leaves_no_neighbours_and_loses_no_word(turns: tuple[Message, ...]) -> None:
    merged = merge_neighbours(turns)
    assert all(a.role != b.role or a.role == "tool" for a, b in pairwise(merged))
    assert words(merged) == words(turns)
    assert merge_neighbours(merged) == merged
    assert sum(len(t.tool_calls) for t in merged) == sum(len(t.tool_calls) for t in turns)


@given(conversations)
def test_system_first_leaves_at_most_one_system_message_in_front(turns: tuple[Message, ...]) -> None:
    result = system_first(turns)
    assert [i for i, turn in enumerate(result) if turn.role == "system"] in ([], [0])
    assert words(result) == words(turns)


@given(conversations)
def test_the_other_rewritings_remove_what_they_promise_and_lose_no_word(turns: tuple[Message, ...]) -> None:
    assert not any(turn.role == "system" for turn in system_in_user(turns))
    assert words(system_in_user(turns)) == words(turns)
    without = tools_in_text(turns)
    assert not any(turn.role == "tool" or turn.tool_calls for turn in without)
    assert all(word in " ".join(words(without)) for word in words(turns))
    opened = user_first(tools_in_text(system_in_user(turns)))
    assert not opened or opened[0].role == "user"
    assert all(a.role != b.role for a, b in pairwise(opened))


@given(conversations)
def test_rewritings_are_few_different_and_not_the_original(turns: tuple[Message, ...]) -> None:
    offers = list(rewritings(turns))
    assert len(offers) <= 15
    assert turn_dicts(turns) not in offers
    assert all(offer not in offers[:i] for i, offer in enumerate(offers))


def test_the_mildest_comes_first() -> None:
    turns = (Message("system", "s"), Message("user", "a"), Message("user", "b"), Message("system", "late"))
    offers = [[(turn["role"], turn["content"]) for turn in offer] for offer in rewritings(turns)]
    assert offers[0] == [("system", "s"), ("user", "a\n\nb"), ("system", "late")]
    assert offers[1] == [("system", "s"), ("user", "a\n\nb\n\nlate")]
    assert offers[2] == [("user", "s\n\na\n\nb\n\nlate")]


def test_ordinary_turns_have_nothing_to_rewrite() -> None:
    assert list(rewritings((Message("user", "a"), Message("assistant", "b"), Message("user", "c")))) == []


@pytest.mark.parametrize(("rendered", "dropped"), [("S: be kind U: hi", False), ("U: hi", True)])
def test_a_dropped_system_message_is_noticed(rendered: str, dropped: bool) -> None:
    turns = (Message("system", " be kind\n"), Message("user", "hi"))
    assert system_was_dropped(turns, rendered) is dropped
