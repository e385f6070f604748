"""Markdown as blocks, and its inline marks as styled text. No widget; styles are names that the theme gives a colour.

A document is a sequence of top-level blocks whose sources, put together, are the document again. That is what makes
streaming cheap and checkable: only the last block can still change, and what is shown can be compared with what came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content, Span

from fireside.tui.source import parser

STYLES = {
    "strong": "bold",
    "em": "italic",
    "s": "strike",
    "link": "underline $accent",
    "code_inline": "$accent on $panel",
    "address": "$faint",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block: a paragraph, a list, a fence."""

    source: str
    """With the blank lines that follow it; the first block also has those before it."""
    node: SyntaxTreeNode | None = field(default=None, compare=False)
    """None where there is nothing but blank lines."""
    depends: bool = False
    """What it looks like may depend on other blocks, because the document defines link addresses."""

    @property
    def kind(self) -> str:
        return self.node.type if self.node is not None else "blank"

    @property
    def is_code(self) -> bool:
        return self.kind in ("fence", "code_block")

    @property
    def language(self) -> str:
        words = self.node.info.split() if self.node is not None and self.kind == "fence" else []
        return words[0] if words else ""

    @property
    def code(self) -> str:
        return self.node.content.rstrip("\n") if self.node is not None and self.is_code else ""


def blocks(source: str) -> list[Block]:
    """The blocks of a document; `"".join(block.source …)` is the document."""
    environment: dict[str, object] = {}
    nodes = SyntaxTreeNode(parser().parse(source, environment)).children
    depends = bool(environment.get("references"))
    starts = [node.map[0] for node in nodes if node.map is not None]
    if not starts:
        return [Block(source, None, depends)] if source else []
    at = [0, *_line_starts(source, starts[1:]), len(source)]
    return [Block(source[begin:end], node, depends) for (begin, end), node in zip(pairwise(at), nodes, strict=True)]


def _line_starts(source: str, lines: list[int]) -> list[int]:
    """Where these lines begin; `lines` ascend."""
    found: list[int] = []
    line = at = 0
    for wanted in lines:
        while line < wanted:
            at = source.index("\n", at) + 1
            line += 1
        found.append(at)
    return found


def inline(node: SyntaxTreeNode) -> Content:
    """The text of a paragraph, a heading or a table cell."""
    tokens = [child for inner in node.children if inner.type == "inline" for child in inner.to_tokens()]
    return _styled([child for token in tokens for child in token.children or ()])


def _styled(tokens: list[Token]) -> Content:
    text = ""
    spans: list[Span] = []
    opened: list[tuple[str, int, str]] = []
    for token in tokens:
        kind = token.type
        if kind == "hardbreak":
            text += "\n"
        elif kind == "code_inline":
            spans.append(Span(len(text), len(text) + len(token.content), STYLES[kind]))
            text += token.content
        elif kind == "image":
            text += f"[{token.content or 'image'}]"
            text = _with_address(text, spans, str(token.attrs.get("src", "")))
        elif token.nesting == 1:
            opened.append((kind.removesuffix("_open"), len(text), str(token.attrs.get("href", ""))))
        elif token.nesting == -1 and opened:
            name, start, address = opened.pop()
            spans.append(Span(start, len(text), STYLES.get(name, "")))
            if name == "link" and not _says(text[start:], address):
                text = _with_address(text, spans, address)
        else:
            text += token.content
    return Content(text, spans)


def _with_address(text: str, spans: list[Span], address: str) -> str:
    """A terminal cannot show where a link leads before it is followed, so it is written out."""
    if not address:
        return text
    added = f" ({address})"
    spans.append(Span(len(text), len(text) + len(added), STYLES["address"]))
    return text + added


def _says(words: str, address: str) -> bool:
    """Whether a link's words are its address."""
    return words.rstrip("/") == address.removeprefix("mailto:").removeprefix("http://").rstrip("/") or words == address
