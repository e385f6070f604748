"""Answers, progress, statistics, tables: what the engine says, in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside import table
from fireside.answer import Answer
from fireside.progress import Prefill, describe
from fireside.stats import stats_lines
from fireside.terminal import to_json_line

TIMINGS = {
    "cache_n": 1000,
    "prompt_n": 234,
    "prompt_per_second": 412.34,
    "predicted_n": 87,
    "predicted_per_second": 24.1,
}


def answer_of(*chunks: dict[str, object]) -> Answer:
    answer = Answer()
    for chunk in chunks:
        answer.add(chunk)
    return answer


def delta(text: str | None, **members: object) -> dict[str, object]:
    return {"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": None}], **members}


def test_an_answer_is_the_sum_of_its_chunks() -> None:
    answer = answer_of(
        {"model": "m", "choices": [], "fireside": {"stage": "loading"}},
        delta(None),
        delta("Hel"),
        delta("lo"),
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": TIMINGS, "fireside": {"seed": 1}},
        {"choices": [], "usage": {"prompt_tokens": 3}},
    )
    assert answer.to_json() == {
        "text": "Hello",
        "model": "m",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 3},
        "timings": TIMINGS,
        "fireside": {"seed": 1},
    }


def test_statistics_tell_what_it_cost() -> None:
    timings = {**TIMINGS, "draft_n": 30, "draft_n_accepted": 12}
    extension = {"seed": 7, "exact": False, "load_ms": 1200, "queue_ms": 0, "reason": "the only model"}
    answer = answer_of(
        delta("x"),
        {"choices": [{"delta": {}, "finish_reason": "length"}], "timings": timings, "fireside": extension},
    )
    assert stats_lines(answer, 1.53, 5.0) == [
        "prompt       1,234 tokens: 1,000 from cache, 234 read at 412.3 tokens/s",
        "first text   1.53 s, of it load 1.20 s",
        "answer       87 tokens at 24.1 tokens/s, ended by length; 5.00 s in all",
        "drafts       12 of 30 accepted",
        "model        m (seed 7, exact no)",
        "reason       the only model",
    ]


def test_statistics_tell_why_nothing_drafts() -> None:
    why = "off: what this model remembers cannot be taken back token by token"
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": TIMINGS, "fireside": {"speculation": why}}
    assert f"drafts       {why}" in stats_lines(answer_of(delta("x"), end), 1.0, 2.0)
    end["fireside"] = {"speculation": "lookups and grammar; no draft model known"}
    assert not any(line.startswith("drafts") for line in stats_lines(answer_of(delta("x"), end), 1.0, 2.0))


def test_statistics_of_an_empty_answer_have_no_rates() -> None:
    assert stats_lines(Answer(), None, 0.5)[0] == "prompt       0 tokens: 0 from cache, 0 read"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 60))
def test_a_bar_is_as_wide_as_it_should_be(total: int, cached: int, processed: int, width: int) -> None:
    total, processed, cached = max(total, processed), processed, min(cached, processed)
    bar = Prefill(total, cached, processed, 10.0).bar(width)
    assert len(bar) == width
    assert list(bar) == sorted(bar, key="▒▓░".index)


def test_cached_read_and_unread_tokens_are_drawn_apart() -> None:
    prefill = Prefill(100, 25, 75, 5000.0)
    assert prefill.bar(8) == "▒▒▓▓▓▓░░"
    assert prefill.bar(8, blocks=False) == "==####--"
    assert prefill.line(blocks=False).endswith("reading 75/100 tokens, 25 from cache, 2 s left")


def test_only_progress_is_described() -> None:
    assert describe(delta("text")) is None
    assert describe(
        {"choices": [], "fireside": {"stage": "loading", "model": "m", "step": "reading", "fraction": 0.4}}
    ) == ("loading m: reading 40%")
    assert "reading 0/0 tokens" in str(describe({"prompt_progress": {"total": 0, "cache": 0, "processed": 0}}))


@given(st.dictionaries(st.text(), st.text()))
def test_a_line_of_json_is_one_line_and_has_no_control_character(value: dict[str, str]) -> None:
    line = to_json_line(value)
    assert json.loads(line) == value
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in line)


def test_columns_are_aligned_and_cells_stay_in_their_line() -> None:
    assert table.render(("NAME", "N"), [["a\nb\x1b[1m", "1"], ["c", ""]]) == "NAME  N\na b   1\nc\n"


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (98_000_000, "98.0 MB"), (310e6, "310 MB"), (2.5e13, "25.0 TB")],
)
def test_sizes(count: float | None, words: str) -> None:
    assert table.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (-1, "0 s"), (61, "61 s"), (840, "14 min"), (7200, "2 h"), (10 * 86400, "10 days")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert table.duration(seconds) == words
