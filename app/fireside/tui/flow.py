"""Lays blocks out in rows of a width: lists with hanging indents, quotes, tables that fit. No widget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from markdown_it.tree import SyntaxTreeNode
from textual.content import Content
from textual.highlight import highlight

from fireside.tui.markdown import inline
from fireside.tui.theme import CodeColours

BULLETS = ("•", "◦", "▪")
NARROWEST = 10
"""Cells below which nothing is indented any further."""
GAP = "  "
"""Between two columns of a table."""
HEADINGS = {"h1": "bold $primary", "h2": "bold $primary", "h3": "bold $accent"}


def rows(node: SyntaxTreeNode, width: int, depth: int = 0) -> list[Content]:
    """A block in lines of at most `width` cells."""
    match node.type:
        case "paragraph" | "heading":
            return text(node).wrap(width)
        case "bullet_list" | "ordered_list":
            return _list(node, width, depth)
        case "blockquote":
            return _indented(_all(node.children, width - 2, depth), "▌ ", "▌ ", "$border", width)
        case "fence" | "code_block":
            code = coloured(node.content.rstrip("\n"), node.info)
            lines = [row for line in code.split("\n", allow_blank=True) for row in line.wrap(max(width - 2, NARROWEST))]
            return _indented(lines, "│ ", "│ ", "$rule", width)
        case "table":
            return _table(node, width)
        case "hr":
            return [Content.styled("─" * width, "$rule")]
        case _:
            return _all(node.children, width, depth)


def text(node: SyntaxTreeNode) -> Content:
    """A paragraph or a heading, not yet broken into lines."""
    content = inline(node)
    if node.type == "heading":
        return content.stylize_before(HEADINGS.get(node.tag, "bold"))
    return content


def coloured(code: str, language: str) -> Content:
    """Highlighted code. Without a language there is no guessing: it costs much and is often wrong."""
    words = language.split()
    return highlight(code, language=words[0] if words else "text", theme=CodeColours, tab_size=4)


def _all(nodes: Iterable[SyntaxTreeNode], width: int, depth: int, *, tight: bool = False) -> list[Content]:
    found: list[Content] = []
    for node in nodes:
        if found and not tight:
            found.append(Content(""))
        found += rows(node, max(width, NARROWEST), depth)
    return found


def _list(node: SyntaxTreeNode, width: int, depth: int) -> list[Content]:
    is_tight = all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")
    if node.type == "ordered_list":
        first = int(node.attrs.get("start", 1))
        size = len(str(first + len(node.children) - 1))
        marks = [f"{first + at}. ".rjust(size + 2) for at in range(len(node.children))]
    else:
        marks = [f"{BULLETS[depth % len(BULLETS)]} "] * len(node.children)
    found: list[Content] = []
    for mark, item in zip(marks, node.children, strict=True):
        if found and not is_tight:
            found.append(Content(""))
        inner = _all(item.children, width - len(mark), depth + 1, tight=is_tight) or [Content("")]
        found += _indented(inner, mark, " " * len(mark), "$primary", width)
    return found


def _indented(lines: list[Content], first: str, rest: str, style: str, width: int) -> list[Content]:
    if width - len(first) < NARROWEST:
        return lines
    return [Content.assemble((rest if at else first, style), line) for at, line in enumerate(lines)]


def _table(node: SyntaxTreeNode, width: int) -> list[Content]:
    grid = [row.children for part in node.children for row in part.children]
    cells = [[inline(cell) for cell in row] for row in grid]
    if not cells:
        return []
    header, *body = cells
    aligns = [str(cell.attrs.get("style", "")).removeprefix("text-align:") for cell in grid[0]]
    room = width - len(GAP) * (len(header) - 1)
    if room < 6 * len(header):
        return _records(header, body, width)
    wanted = [max(cell.cell_length for cell in column) for column in zip(*cells, strict=True)]
    sizes = fit(wanted, room)
    styled = [cell.stylize_before("bold $accent") for cell in header]
    found = _table_row(styled, sizes, aligns)
    found.append(Content.styled(GAP.join("─" * size for size in sizes), "$rule"))
    drawn = [_table_row(row, sizes, aligns) for row in body]
    breaks = any(len(row) > 1 for row in drawn)
    for at, row in enumerate(drawn):
        if breaks and at:
            found.append(Content(""))
        found += row
    return found


def fit(wanted: list[int], room: int) -> list[int]:
    """Widths of columns in `room` cells: as wanted where that fits, else the widest ones give way."""
    sizes = [max(1, size) for size in wanted]
    while sum(sizes) > room and max(sizes) > 1:
        widest = max(sizes)
        second = max((size for size in sizes if size < widest), default=0)
        many = sizes.count(widest)
        take = min(widest - second, max(1, (sum(sizes) - room) // many))
        surplus = sum(sizes) - room
        for at, size in enumerate(sizes):
            if size == widest and surplus > 0:
                sizes[at] -= take
                surplus -= take
    return sizes


def _table_row(cells: list[Content], sizes: list[int], aligns: list[str]) -> list[Content]:
    columns = [cell.wrap(size) for cell, size in zip(cells, sizes, strict=True)]
    lines: list[Content] = []
    for pieces in zip_longest(*columns, fillvalue=Content("")):
        padded = [_pad(piece, size, align) for piece, size, align in zip(pieces, sizes, aligns, strict=True)]
        lines.append(Content(GAP).join(padded))
    return lines


def _pad(piece: Content, size: int, align: str) -> Content:
    missing = max(0, size - piece.cell_length)
    left = missing if align == "right" else missing // 2 if align == "center" else 0
    return Content.assemble(" " * left, piece, " " * (missing - left))


def _records(header: list[Content], body: list[list[Content]], width: int) -> list[Content]:
    """A table that has more columns than the width can hold: a paragraph for each row."""
    found: list[Content] = []
    for row in body:
        if found:
            found.append(Content(""))
        for name, cell in zip(header, row, strict=False):
            found += Content.assemble(name.stylize_before("bold $accent"), ": ", cell).wrap(width)
    return found or [line for name in header for line in name.wrap(width)]
