"""Asks the engine and shows the answer while it comes."""

from __future__ import annotations

import time
from contextlib import closing

from fireside import progress
from fireside.answer import Answer
from fireside.client import EngineClient, EngineFailure
from fireside.failure import TimeLimitError
from fireside.sanitize import Sanitizer
from fireside.terminal import Narrator, Output
from fireside.wire import JsonObject

STREAM_OPTIONS: JsonObject = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
"""Members of a request that asks for everything this module shows."""


def stream_answer(
    client: EngineClient, body: JsonObject, answer: Answer, narrator: Narrator, output: Output | None
) -> float | None:
    """Fill `answer`, and write it to `output` as it comes, with one newline after it. None shows progress only.

    Returns when the first text came, in seconds. Raises EngineFailure. Whatever ends this early closes the connection,
    which cancels the request, and leaves in `answer` what came so far.
    """
    sanitizer = Sanitizer()
    began, first_text_s = time.monotonic(), None
    at_line_start = True
    narrator.status("waiting for the engine")
    try:
        with closing(client.chat(body)) as chunks:
            for chunk in chunks:
                if text := answer.add(chunk):
                    if first_text_s is None:
                        first_text_s = time.monotonic() - began
                    if output and (text := sanitizer.feed(text)):
                        narrator.clear()
                        output.write(text)
                        at_line_start = text.endswith("\n")
                elif line := progress.describe(chunk, blocks=narrator.draws_blocks):
                    narrator.status(line)
    except (KeyboardInterrupt, TimeLimitError, EngineFailure):
        # What came so far stays, and what follows begins on a line of its own.
        if output and output.is_terminal and not at_line_start:
            output.write("\n")
        raise
    finally:
        narrator.clear()
    if output:
        output.write("\n")
    return first_text_s
