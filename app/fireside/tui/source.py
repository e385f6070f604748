"""How Markdown source is read: which part of a growing text may be rendered, and where its code blocks are. Pure.

Rendering an open code fence costs a highlighting of the whole fence each time. So a stream keeps the source of an open
fence apart until it closes. Where a line only may become a fence, it is held back, so that nothing flickers. This
reading is approximate about fences inside lists and quotes; the one rendering at the end of a stream is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

_CONTAINER = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))*")
"""What may stand before a fence: indentation, quote marks, list marks."""
_OPENING = re.compile(r"(?:(`{3,})([^`]*)|(~{3,})(.*))$")
_MAY_OPEN = re.compile(r"(?:`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*)$")


@dataclass(frozen=True, slots=True)
class OpenFence:
    """A code fence that has begun and not ended."""

    start: int
    """Index of its first mark."""
    code: int
    """Index of its first line of code."""
    mark: str
    """Its marks, as many as its end needs at least."""
    language: str
    indent: int
    """Columns that its container takes from each line of code."""


class GrowingSource:
    """Markdown that arrives in pieces.

    `text[:settled]` may be rendered as Markdown; then comes an open fence, up to `shown`; the rest is held back.
    All of it depends on the text alone, not on how it was cut into pieces.
    """

    def __init__(self) -> None:
        self.text = ""
        self.settled = 0
        self.shown = 0
        self.fence: OpenFence | None = None
        self._line = 0
        """Index of the line that is not complete yet."""

    def feed(self, piece: str) -> None:
        self.text += piece
        while (end := self.text.find("\n", self._line)) >= 0:
            self._end_line(self.text[self._line : end], end + 1)
            self._line = end + 1
        self._look_ahead(self.text[self._line :])

    def _end_line(self, line: str, end: int) -> None:
        self.shown = end
        if self.fence is not None:
            if _closes(line, self.fence.mark):
                self.fence = None
                self.settled = end
            return
        prefix = _prefix_length(line)
        if match := _OPENING.match(line, prefix):
            info = (match[2] or match[4] or "").strip()
            language = info.split()[0].strip("{}.") if info else ""
            self.settled = self._line + prefix
            self.fence = OpenFence(self.settled, end, match[1] or match[3], language, prefix)
        else:
            self.settled = end

    def _look_ahead(self, partial: str) -> None:
        whole = self._line + len(partial)
        if self.fence is not None:
            bare = partial.strip(" \t>")
            may_close = bool(bare) and not bare.strip(self.fence.mark[0])
            self.shown = self._line if may_close else whole
            return
        prefix = _prefix_length(partial)
        may_open = _MAY_OPEN.match(partial, prefix) is not None
        self.settled = self.shown = self._line + prefix if may_open else whole

    @property
    def code(self) -> str:
        """What of the open fence's code may be shown."""
        return "" if self.fence is None else self.text[self.fence.code : max(self.shown, self.fence.code)]


class CodeBlock(NamedTuple):
    language: str
    code: str


def code_blocks(source: str) -> list[CodeBlock]:
    """Every code block of a document, in order, without its fences."""
    blocks: list[CodeBlock] = []
    for token in parser().parse(source):
        if token.type in ("fence", "code_block"):
            words = token.info.split()
            blocks.append(CodeBlock(words[0] if words else "", token.content))
    return blocks


def parser() -> MarkdownIt:
    """Markdown as models mean it: tags are text and never vanish, and a line break is a line break."""
    markdown = MarkdownIt("gfm-like", {"html": False})
    markdown.core.ruler.push("keep_line_breaks", _keep_line_breaks)
    return markdown


def _keep_line_breaks(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


def _prefix_length(line: str) -> int:
    match = _CONTAINER.match(line)
    return match.end() if match else 0


def _closes(line: str, mark: str) -> bool:
    bare = line.strip(" \t>\r")
    return len(bare) >= len(mark) and not bare.strip(mark[0])
