"""Fenced code in Markdown, found without a Markdown library: for `-x`. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_OPENING = re.compile(r"(?P<indent> {0,9}(?:> ?)*\s*)(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)$")


class Code(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    """Its lines, each with its end."""
    is_closed: bool


def code_blocks(text: str) -> list[Code]:
    """All fenced blocks, in their order; the last one may be open because the text was cut off."""
    found: list[Code] = []
    lines = iter(text.splitlines())
    for line in lines:
        opening = _OPENING.match(line)
        if opening is None:
            continue
        marks, indent = opening["marks"], opening["indent"]
        closing = re.compile(rf"(?:[ >]*){re.escape(marks[0])}{{{len(marks)},}}\s*$")
        code: list[str] = []
        is_closed = False
        for inner in lines:
            if closing.match(inner):
                is_closed = True
                break
            code.append(_unindented(inner, indent))
        language = (opening["info"].split() or [""])[0].strip("{}.").lower()
        found.append(Code(language, "".join(f"{part}\n" for part in code), is_closed))
    return found


def pick(text: str, language: str) -> Code | None:
    """The first block of a language, or the first one where none is named; None if there is no such block."""
    blocks = code_blocks(text)
    return next((block for block in blocks if not language or block.language == language.lower()), None)


def _unindented(line: str, indent: str) -> str:
    if line.startswith(indent):
        return line[len(indent) :]
    # A line of a list's code may be indented less than its fence.
    return line.lstrip(" ") if not line[: len(indent)].strip() else line
