"""Copies answers and code, one block after the other, and writes to a file what was copied last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fireside.tui import clipboard
from fireside.tui.screen_text import on_one_line, on_screen
from fireside.tui.source import code_blocks
from fireside.wording import plural


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied last."""

    text: str
    suffix: str
    """Of a file that holds it."""


class Copier:
    """Every method gives the words that tell the user what happened."""

    def __init__(self, to_terminal: Callable[[str], None]) -> None:
        self._to_terminal = to_terminal
        """Writes an escape sequence."""
        self._tool = clipboard.native_tool()
        self._source = ""
        self._block = -1
        self._last: Copied | None = None

    async def answer(self, source: str) -> str:
        """Copy an answer as Markdown."""
        if not source:
            return "There is no answer yet."
        text = on_screen(source)
        return await self._copy(Copied(text, ".md"), f"the answer, {_lines(text)}")

    async def code(self, source: str) -> str:
        """Copy the first code block of an answer; asked again for the same answer, the next one."""
        blocks = code_blocks(on_screen(source))
        if not blocks:
            return "There is no code in the last answer."
        self._block = (self._block + 1) % len(blocks) if source == self._source else 0
        self._source = source
        block = blocks[self._block]
        which = f" {self._block + 1} of {len(blocks)}" if len(blocks) > 1 else ""
        what = f"{on_one_line(block.language) or 'code'} block{which}, {_lines(block.code)}"
        return await self._copy(Copied(block.code, ".txt"), what)

    async def selection(self, text: str) -> str:
        return await self._copy(Copied(text, ".txt"), f"the selection, {_lines(text)}")

    def file(self) -> str:
        """Write what was copied last to a new file in the working directory."""
        if self._last is None:
            return "Nothing was copied yet; y copies the answer, c a code block."
        try:
            path = clipboard.write_file(self._last.text, Path.cwd(), self._last.suffix)
        except OSError as cause:
            return f"Could not write a file: {cause}."
        return f"Wrote {path}"

    async def _copy(self, copied: Copied, what: str) -> str:
        self._last = copied
        outcome = await asyncio.to_thread(clipboard.copy, copied.text, self._to_terminal, self._tool)
        return clipboard.describe(outcome, what)


def _lines(text: str) -> str:
    return plural(len(text.rstrip("\n").split("\n")), "line")
