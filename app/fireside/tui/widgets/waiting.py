"""The line that stands where an answer will be: what is being waited for, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.content import Content
from textual.widget import Widget

from fireside.progress import Prefill
from fireside.tui.reply import Loading
from fireside.tui.screen_text import on_one_line
from fireside.wording import count, duration

PATIENCE = 1.0
"""Seconds after which the line tells how long it has been."""
_COLOURS = {"▒": "$secondary", "▓": "$primary", "░": "$rule"}
_STEPS = {"reading": "reading the file", "probing": "measuring", "warming": "warming up"}


class WaitingLine(Widget):
    """Says what happens before the first word."""

    DEFAULT_CSS = """
    WaitingLine { height: 1; color: $faint; margin: 0 0 1 0; }
    """

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self._stage: Loading | Prefill | None = None
        self._since = time.monotonic()

    def on_mount(self) -> None:
        self.set_interval(1.0, self.refresh)

    def say(self, words: str) -> None:
        """Wait for something else."""
        self._words, self._stage, self._since = words, None, time.monotonic()
        self.refresh()

    def show_stage(self, stage: Loading | Prefill) -> None:
        self._stage = stage
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        if isinstance(self._stage, Prefill):
            return reading(self._stage, width)
        if isinstance(self._stage, Loading):
            return loading(self._stage, width, time.monotonic() - self._since)
        waited = time.monotonic() - self._since
        return Content(self._words + (f" · {duration(waited)}" if waited >= PATIENCE else ""))


def reading(stage: Prefill, width: int) -> Content:
    """The prompt being read: the cached part drawn apart."""
    words = [f"reading {count(stage.processed)}/{count(stage.total)}"]
    if stage.cached:
        words.append(f"{count(stage.cached)} from cache")
    if (left := stage.seconds_left) is not None and left >= 0.5:
        words.append(f"{duration(left)} left")
    return _with_bar(lambda size: stage.bar(size), words, width)


def loading(stage: Loading, width: int, waited: float = 0.0) -> Content:
    """A model being loaded."""
    words = [f"loading {on_one_line(stage.model)}".rstrip()]
    if step := _STEPS.get(stage.step, on_one_line(stage.step)):
        words.append(step)
    fraction = None if stage.fraction is None else min(max(stage.fraction, 0.0), 1.0)
    if fraction is not None:
        words.append(f"{fraction:.0%}")
    if waited >= PATIENCE:
        words.append(duration(waited))
    if fraction is None:
        return Content(" · ".join(words))
    return _with_bar(lambda size: "▓" * round(size * fraction) + "░" * (size - round(size * fraction)), words, width)


def _with_bar(bar: Callable[[int], str], words: list[str], width: int) -> Content:
    """A bar and what of the words fits beside it; the first is never left out."""
    size = 24 if width >= 76 else 12 if width >= 50 else 6
    while len(words) > 1 and size + 2 + len(" · ".join(words)) > width:
        words.pop(1)
    drawn = bar(size)
    runs = [(drawn[at], _COLOURS[drawn[at]]) for at in range(len(drawn))]
    return Content.assemble(*runs, "  ", " · ".join(words))
