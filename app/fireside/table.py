"""Aligned columns of plain text, and numbers as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fireside.sanitize import clean_line


def render(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with two spaces between columns; no cell can break its line."""
    lines = [list(head), *([clean_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def size(count: float | None) -> str:
    """Bytes, e.g. `1.4 GB`; powers of 1000, as disks and model pages count."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def parameters(count: float) -> str:
    """e.g. `1.5B`, `135M`."""
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def duration(seconds: float | None) -> str:
    """Roughly, e.g. `14 min`."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def ago(seconds: float) -> str:
    """How long since, e.g. `3 h ago`; a clock that was put back is no reason to tell of the future."""
    return "now" if seconds < 5 else f"{duration(seconds)} ago"
