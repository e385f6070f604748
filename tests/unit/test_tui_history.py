"""The prompt's history."""

from __future__ import annotations

from fireside.tui.history import PromptHistory


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
