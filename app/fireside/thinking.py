"""Tells thinking from answer in a stream whose template marks it with `<think>` tags. Pure.

Only a tag at the very start opens thinking: later on it is text about tags, and text is never dropped.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

OPEN = "<think>"
CLOSE = "</think>"


class Piece(NamedTuple):
    """A stretch of one kind."""

    kind: Literal["thinking", "answer"]
    text: str


class ThinkSplitter:
    """Feed pieces of any size; what may still become a tag is held back until `finish`."""

    def __init__(self) -> None:
        self._held = ""
        self._state: Literal["start", "thinking", "after", "answer"] = "start"

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        pieces: list[Piece] = []
        if self._state == "start":
            head = self._held.lstrip()
            if head.startswith(OPEN):
                self._held = head[len(OPEN) :]
                self._state = "thinking"
            elif not OPEN.startswith(head):
                self._state = "answer"
        if self._state == "thinking":
            pieces += self._read_thinking()
        if self._state == "after":
            # The blank lines between the tag and the answer belong to neither.
            self._held = self._held.lstrip("\n")
            if self._held:
                self._state = "answer"
        if self._state == "answer" and self._held:
            pieces.append(Piece("answer", self._held))
            self._held = ""
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Piece("thinking" if self._state == "thinking" else "answer", held)]

    def _read_thinking(self) -> list[Piece]:
        thought, found, rest = self._held.partition(CLOSE)
        if found:
            self._held = rest
            self._state = "after"
        else:
            keep = _overlap(thought, CLOSE)
            self._held = thought[len(thought) - keep :]
            thought = thought[: len(thought) - keep]
        return [Piece("thinking", thought)] if thought else []


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of `text` that begins `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
