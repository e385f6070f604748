"""A model's thinking: one line, and its text below when it is unfolded."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.timer import Timer
from textual.widgets import Static

from fireside.wording import duration

REFRESH = 0.5
"""Seconds between two updates of thinking in progress."""


class Thought(Vertical):
    """Write to it; `finish` it; `toggle` it."""

    DEFAULT_CSS = """
    Thought {
        height: auto;
        margin: 0 0 1 0;
        color: $faint;
        & > .label { height: 1; }
        & > .thinking { height: auto; padding: 0 0 0 1; border-left: outer $rule; display: none; }
        &.-open > .thinking { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._label = Static(classes="label", markup=False)
        self._body = Static(classes="thinking", markup=False)
        self._since = time.monotonic()
        self._took: float | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self._label
        yield self._body

    def on_mount(self) -> None:
        if self._took is None:
            self._timer = self.set_interval(REFRESH, self._show)
        self._show()

    def write(self, text: str) -> None:
        self.text += text

    def finish(self) -> None:
        """The model has stopped thinking. Does nothing the second time."""
        if self._took is None:
            self._took = time.monotonic() - self._since
            if self._timer is not None:
                self._timer.stop()
            self._show()

    def toggle(self) -> None:
        self.toggle_class("-open")
        self._show()

    def on_click(self, event: Click) -> None:
        event.stop()
        self.toggle()

    def _show(self) -> None:
        is_open = self.has_class("-open")
        words = "thinking" if self._took is None else "thought"
        took = time.monotonic() - self._since if self._took is None else self._took
        # An answer that is shown again later does not know how long it took.
        how_long = f" {duration(took)}" if took >= 0.1 else ""
        key = "fold" if is_open else "unfold"
        self._label.update(Content.assemble("▾ " if is_open else "▸ ", words, how_long, (f"  ctrl+t {key}", "$border")))
        if is_open:
            self._body.update(Content(self.text.strip()))
