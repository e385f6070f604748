"""How files, standard input and the instruction become one prompt. Pure.

Material comes first, each piece fenced, files under their names; the instruction comes last. Small models follow what
they read last, and material that stays the same is a prefix whose computation the engine need not repeat.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TICKS = re.compile("`+")


class Material(NamedTuple):
    """A file, or what came through the pipe."""

    name: str
    """Empty for the pipe: told of a "stdin", small models answer that they cannot read it."""
    text: str


def fence(text: str) -> str:
    """`text` between lines of backticks that do not occur in it."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{ticks}"


def _heading(material: Material) -> str:
    return f"{' '.join(material.name.split())}:\n" if material.name else ""


def lay_out(materials: list[Material], instruction: str) -> str:
    """The user's message. A single piece of material without an instruction is the message itself."""
    if not instruction and len(materials) == 1:
        return materials[0].text
    blocks = [f"{_heading(material)}{fence(material.text)}" for material in materials]
    return "\n\n".join([*blocks, *filter(None, [instruction])])
