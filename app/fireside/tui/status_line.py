"""The bottom line: what the engine is doing, how full the context is, how fast it goes. Pure.

Parts that do not fit the width are left out whole, the least important first; nothing is cut in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from textual.content import Content

from fireside.wording import duration, rate, short_count, size

SEPARATOR = "  "


class Phase(StrEnum):
    """What the engine is doing for this chat."""

    STARTING = "starting engine"
    LOADING = "loading"
    IDLE = "no model loaded"
    READY = "ready"
    READING = "reading"
    WRITING = "writing"
    DOWN = "engine not running"


@dataclass(frozen=True, slots=True)
class StatusView:
    """What there is to show; None and 0 where nothing is known."""

    phase: Phase = Phase.STARTING
    model: str = ""
    quant: str = ""
    """How its weights are kept, e.g. Q4_K - Medium."""
    used: int = 0
    """Tokens in the conversation's context."""
    known: int = 0
    """Of these, tokens that needed no reading for the present or last answer."""
    n_ctx: int = 0
    rate: float | None = None
    cached: int | None = None
    """Prompt tokens of the last answer that came from the cache."""
    memory: int = 0
    """Bytes of the model's process."""
    memory_total: int = 0
    unload_in: float | None = None
    """Seconds."""
    deterministic: bool = False
    queued: int = 0


Styled = tuple[str, str]
"""Text and the name of its style."""


@dataclass(frozen=True, slots=True)
class _Part:
    rank: int
    """The higher, the sooner it is left out."""
    content: tuple[Styled, ...]

    @property
    def width(self) -> int:
        return sum(Content(text).cell_length for text, _ in self.content)


def gauge(used: int, total: int, width: int, known: int = 0) -> tuple[str, str, str]:
    """The known, the other full and the empty piece of a bar. Anything used shows at least one cell."""
    full = min(width, max(round(width * used / total), 1 if used else 0)) if total else 0
    before = min(full, round(width * known / total)) if total else 0
    return "▒" * before, "▓" * (full - before), "░" * (width - full)


def status_line(view: StatusView, hints: list[tuple[str, str]], width: int) -> Content:
    """The line for `width` cells, `hints` (key, what it does) at its right end."""
    parts = _parts(view, gauge_width=10 if width >= 100 else 6)
    right = [_Part(4 + 2 * at, ((key, "$accent"), (f" {what}", "$faint"))) for at, (key, what) in enumerate(hints)]
    while len(parts) + len(right) > 1 and _width([*parts, *right]) > width:
        victim = max([*parts, *right], key=lambda part: part.rank)
        (right if victim in right else parts).remove(victim)
    left_text, right_text = _join(parts), _join(right)
    gap = max(0, width - left_text.cell_length - right_text.cell_length)
    line = Content.assemble(left_text, " " * gap, right_text)
    return line.truncate(width, ellipsis=True) if line.cell_length > width else line


def _parts(view: StatusView, gauge_width: int) -> list[_Part]:
    mark = {Phase.READY: "$success", Phase.DOWN: "$error", Phase.IDLE: "$faint"}.get(view.phase, "$accent")
    dot = "○" if view.phase in (Phase.IDLE, Phase.DOWN) else "●"
    name = view.model if view.phase not in (Phase.STARTING, Phase.DOWN) else ""
    parts = [_Part(0, ((f"{dot} ", mark), (view.phase.value, "$foreground 80%")))]
    if name:
        parts.append(_Part(9, ((name, "$faint"),)))
        # A file named after its quantization has said it.
        if view.quant and view.quant.split()[0].lower() not in name.lower():
            parts.append(_Part(11, ((view.quant, "$faint"),)))
    if view.deterministic:
        parts.append(_Part(8, (("deterministic", "$accent"),)))
    if view.queued:
        parts.append(_Part(2, ((f"{view.queued} queued", "$accent"),)))
    if view.n_ctx:
        known, full, empty = gauge(view.used, view.n_ctx, gauge_width, view.known)
        tight = view.used > 0.85 * view.n_ctx
        numbers = f"{short_count(view.used)}/{short_count(view.n_ctx)}"
        parts.append(_Part(1, (("ctx ", "$faint"), (numbers, "$warning" if tight else "$foreground 80%"))))
        bar = ((known, "$secondary"), (full, "$warning" if tight else "$primary"), (empty, "$rule"))
        parts.append(_Part(5, bar))
    if view.rate is not None:
        parts.append(_Part(3, ((rate(view.rate), "$foreground 80%"),)))
    if view.cached:
        parts.append(_Part(6, ((f"{short_count(view.cached)} cached", "$faint"),)))
    if view.memory:
        total = f" of {size(view.memory_total)}" if view.memory_total else ""
        parts.append(_Part(7, (("RAM ", "$faint"), (f"{size(view.memory)}{total}", "$faint"))))
    if view.unload_in is not None:
        parts.append(_Part(10, ((f"unloads in {duration(max(0.0, view.unload_in))}", "$faint"),)))
    return parts


def _width(parts: list[_Part]) -> int:
    return sum(part.width for part in parts) + len(SEPARATOR) * (len(parts) - 1)


def _join(parts: list[_Part]) -> Content:
    styled: list[Styled | str] = []
    for part in parts:
        styled += [SEPARATOR, *part.content] if styled else part.content
    return Content.assemble(*styled)
