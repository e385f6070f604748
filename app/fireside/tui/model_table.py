"""Models as lines of a table, in the width there is. Pure."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content

from fireside.tui.model_rows import ModelRow, context_words, fit_words, memory_words, rate_words
from fireside.tui.screen_text import on_one_line
from fireside.wording import size

GAP = "  "
_Cell = tuple[str, int, bool, Callable[[ModelRow], str]]
"""Heading, width, whether it stands at the right, and what it says."""

_QUANT: _Cell = ("quant", 7, False, lambda row: row.quant)
_LONG_QUANT: _Cell = ("quant", 10, False, lambda row: row.quant)
_SIZE: _Cell = ("size", 7, True, lambda row: size(row.size) if row.size else "")
_BAND: _Cell = ("quality", 13, False, lambda row: row.band)
_CONTEXT: _Cell = ("context", 7, True, context_words)
_MEMORY: _Cell = ("memory", 7, True, memory_words)
_RATE: _Cell = ("tok/s", 5, True, rate_words)
_FITS: _Cell = ("fits", 9, False, fit_words)
_STATE: _Cell = ("", 8, False, lambda row: "● loaded" if row.loaded else "" if row.here else "↓ fetch")
_MARK: _Cell = ("", 1, False, lambda row: "●" if row.loaded else "" if row.here else "↓")


def columns(width: int) -> list[_Cell]:
    """What there is room for beside the name."""
    if width >= 100:
        return [_LONG_QUANT, _SIZE, _BAND, _CONTEXT, _MEMORY, _RATE, _FITS, _STATE]
    if width >= 60:
        return [_QUANT, _SIZE, _MEMORY, _RATE, _FITS, _MARK]
    return [_SIZE, _RATE, _MARK]


def heading(width: int) -> Content:
    cells = columns(width)
    parts = [f"  {'model':<{_name_width(width, cells)}}"]
    parts += [title.rjust(wide) if right else title.ljust(wide) for title, wide, right, _ in cells]
    return Content(GAP.join(parts)).truncate(max(1, width))


def line(row: ModelRow, width: int, *, is_current: bool = False) -> Content:
    """One model; `>` marks the best quantization of its model."""
    cells = columns(width)
    faint = row.fits is False
    name = Content.styled(on_one_line(row.name), "bold $primary" if is_current else "$faint" if faint else "")
    parts: list[Content | tuple[str, str]] = [
        (("› " if row.picked or row.proposed == 1 else "  "), "$accent"),
        name.truncate(_name_width(width, cells), ellipsis=True, pad=True),
    ]
    for title, wide, right, tell in cells:
        words = Content(on_one_line(tell(row))).truncate(wide, ellipsis=True).plain
        parts += [(GAP, ""), (words.rjust(wide) if right else words.ljust(wide), _style(title, row, words))]
    return Content.assemble(*parts).truncate(max(1, width))


def _style(title: str, row: ModelRow, words: str) -> str:
    if words.startswith("●"):
        return "$success"
    if title == "fits" and row.fits is not None:
        return "$success" if row.fits else "$error"
    if row.fits is False or title in ("context", ""):
        return "$faint"
    return "$secondary" if title == "quality" else ""


def _name_width(width: int, cells: list[_Cell]) -> int:
    return max(8, width - 2 - sum(wide + len(GAP) for _, wide, _, _ in cells))
