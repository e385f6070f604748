"""What is read from the chunks of an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tui_fake import FakeEngine, Script

from fireside.progress import Prefill
from fireside.thinking import Piece, ThinkSplitter
from fireside.tui.reply import Loading, Reply


def content(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def read(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    found: list[Piece] = []
    for piece in pieces:
        found += splitter.feed(piece)
    found += splitter.finish()
    return tuple("".join(text for kind, text in found if kind == wanted) for wanted in ("thinking", "answer"))  # type: ignore[return-value]


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<thi", "</", "\n", "a", " ", "b < c"]), max_size=10).map(
    "".join
)


@given(TEXTS, st.lists(st.integers(1, 4), max_size=40))
def test_cuts_do_not_matter(text: str, sizes: list[int]) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    assert read([*pieces, text[at:]]) == read([text])


@given(TEXTS)
def test_nothing_but_tags_and_the_blanks_beside_them_is_dropped(text: str) -> None:
    thinking, answer = read([text])
    kept = (thinking + answer).replace("\n", "").replace(" ", "")
    whole = text.replace("\n", "").replace(" ", "")
    assert kept in (whole, whole.removeprefix("<think>"), whole.removeprefix("<think>").replace("</think>", "", 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>why</think>\n\nso", ("why", "so")),
        ("\n<think>\nwhy\n</think>so", ("\nwhy\n", "so")),
        ("<think>never ends", ("never ends", "")),
        ("talk of <think> tags </think>", ("", "talk of <think> tags </think>")),
        ("<thin", ("", "<thin")),
        ("<think>a</thi", ("a</thi", "")),
    ],
)
def test_only_a_tag_at_the_start_opens_thinking(text: str, expected: tuple[str, str]) -> None:
    assert read([text]) == expected


def test_stages_before_the_text() -> None:
    reply = Reply()
    stage = {"stage": "loading", "model": "m", "step": "reading", "fraction": 0.4}
    assert reply.feed({"choices": [], "fireside": stage}, 0.0) == []
    assert reply.stage == Loading("m", "reading", 0.4)
    progress = {"total": 4096, "cache": 2048, "processed": 3072, "time_ms": 1000}
    reply.feed({"choices": [], "prompt_progress": progress}, 0.0)
    assert reply.stage == Prefill(4096, 2048, 3072, 1000.0)
    assert reply.stage.seconds_left == pytest.approx(1.0)
    assert reply.feed(content("Hi"), 1.0) == [Piece("answer", "Hi")]
    assert reply.stage is None


def test_both_ways_of_thinking() -> None:
    reply = Reply()
    reply.feed({"choices": [{"delta": {"reasoning_content": "hm"}}]}, 1.0)
    reply.feed(content("yes"), 3.0)
    assert (reply.reasoning, reply.text) == ("hm", "yes")
    tagged = Reply()
    tagged.feed(content("<think>hm</think>yes"), 1.0)
    assert (tagged.reasoning, tagged.text) == ("hm", "yes")


def test_the_account_is_the_engines_where_it_gave_one() -> None:
    reply = Reply()
    reply.feed(content("one"), 1.0)
    reply.feed(FakeEngine().last_chunk(Script(text="one two", prompt=(100, 64)), "m"), 2.0)
    account = reply.account("stop")
    assert (account.model, account.cached, account.prefilled, account.generated) == ("m", 64, 36, 1)
    assert (account.rate, account.exact, account.seed, account.counted_here) == (41.8, True, 7, False)
    assert account.context == 101
    assert reply.finish_reason == "stop"


def test_a_reason_is_told_where_there_was_a_choice() -> None:
    for asked, told in (("", "The default."), ("Other", "The default."), ("M", "")):
        reply = Reply(asked=asked)
        reply.feed({"choices": [], "fireside": {"route": "m", "reason": "The default."}}, 0.0)
        assert reply.account("stop").reason == told


def test_without_the_engines_account_pieces_are_counted_and_said_to_be() -> None:
    reply = Reply()
    reply.feed({"choices": [], "prompt_progress": {"total": 10, "cache": 4, "processed": 10, "time_ms": 5}}, 0.0)
    for at in range(5):
        reply.feed(content("x"), float(at))
    account = reply.account("stopped")
    assert (account.generated, account.counted_here, account.rate) == (5, True, 1.0)
    assert (account.cached, account.prefilled) == (4, 6)


def test_the_live_rate_looks_at_the_last_seconds() -> None:
    reply = Reply()
    for at in range(10):
        reply.feed(content("x"), float(at))
    for at in range(21):
        reply.feed(content("x"), 20 + at / 10)
    assert reply.rate(22.0) == pytest.approx(10.0)
    assert Reply().rate(0.0) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=2)))
def test_members_of_another_shape_are_ignored(value: Any) -> None:
    reply = Reply()
    reply.feed({"choices": [], "timings": value, "fireside": value, "prompt_progress": value, "usage": value}, 0.0)
    assert reply.text == ""
    reply.account("stop")
