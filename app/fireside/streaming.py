"""Asks the engine and shows the answer while it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from fireside import progress
from fireside.answer import Answer
from fireside.client import EngineClient, EngineFailure
from fireside.failure import TimeLimitError
from fireside.sanitize import Sanitizer
from fireside.terminal import Narrator, Output
from fireside.thinking import Piece
from fireside.wire import JsonObject

STREAM_OPTIONS: JsonObject = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
"""Members of a request that asks for everything this module shows."""


class Display:
    """Shows the text of an answer on standard output, and thinking on standard error where that is wanted."""

    def __init__(self, narrator: Narrator, output: Output | None, *, shows_thinking: bool = False) -> None:
        self._narrator = narrator
        self._output = output
        """None shows progress only."""
        self._shows_thinking = shows_thinking
        self._text, self._thought = Sanitizer(), Sanitizer()
        self._at_line_start = True
        self._n_thoughts = 0
        self._is_thinking = False

    def show(self, pieces: list[Piece]) -> None:
        for kind, text in pieces:
            if kind == "thinking":
                self._show_thinking(text)
            elif self._output and (clean := self._text.feed(text)):
                self._end_thinking()
                self._narrator.clear()
                self._output.write(clean)
                self._at_line_start = clean.endswith("\n")

    def break_off(self) -> None:
        """What came so far stays, and what follows begins on a line of its own."""
        self._end_thinking()
        if self._output and self._output.is_terminal and not self._at_line_start:
            self._output.write("\n")

    def end(self) -> None:
        self._end_thinking()
        if self._output:
            self._output.write("\n")

    def _show_thinking(self, text: str) -> None:
        self._n_thoughts += 1
        if not self._shows_thinking:
            self._narrator.status(f"thinking, {self._n_thoughts} tokens")
        elif clean := self._thought.feed(text):
            self._narrator.clear()
            self._narrator.write_raw(clean)
            self._is_thinking = True

    def _end_thinking(self) -> None:
        if self._is_thinking:
            self._is_thinking = False
            self._narrator.write_raw("\n\n")


def stream_answer(
    client: EngineClient,
    body: JsonObject,
    answer: Answer,
    narrator: Narrator,
    display: Display,
    on_chunk: Callable[[JsonObject], None] | None = None,
) -> float | None:
    """Fill `answer`, and show it as it comes, with one newline after it; `on_chunk` gets every chunk as it came.

    Returns when the first text came, in seconds. Raises EngineFailure. Whatever ends this early closes the connection,
    which cancels the request, and leaves in `answer` what came so far.
    """
    began, first_text_s = time.monotonic(), None
    narrator.status("waiting for the engine")
    try:
        with closing(client.chat(body)) as chunks:
            for chunk in chunks:
                if on_chunk:
                    on_chunk(chunk)
                if pieces := answer.add(chunk):
                    if first_text_s is None:
                        first_text_s = time.monotonic() - began
                    display.show(pieces)
                elif line := progress.describe(chunk, blocks=narrator.draws_blocks):
                    narrator.status(line)
            display.show(answer.finish())
    except (KeyboardInterrupt, TimeLimitError, EngineFailure):
        display.show(answer.finish())
        display.break_off()
        raise
    finally:
        narrator.clear()
    display.end()
    return first_text_s
