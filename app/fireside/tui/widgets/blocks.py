"""Blocks of Markdown as widgets: one widget for each, however much is in it, changed in place while it is written."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from fireside.tui import flow
from fireside.tui.markdown import Block

TAB = 4


class FlowBlock(Widget):
    """Anything but code."""

    DEFAULT_CSS = """
    FlowBlock { height: auto; margin: 0 0 1 0; }
    """

    def __init__(self, block: Block) -> None:
        super().__init__(markup=False)
        self.block = block
        self._rows: tuple[int, list[Content]] | None = None
        """For a width."""

    @property
    def source(self) -> str:
        return self.block.source

    def show(self, block: Block) -> None:
        """Show another block, or more of this one."""
        if block == self.block and not block.depends:
            return
        width = self.content_size.width
        before = len(self._lines(width)) if width else 0
        self.block = block
        self._rows = None
        self.refresh(layout=not width or len(self._lines(width)) != before)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        return len(self._lines(width)) if width else 0

    def render(self) -> Content:
        node = self.block.node
        if node is not None and node.type in ("paragraph", "heading"):
            # Unbroken, so that text that is selected and copied is not broken either.
            return flow.text(node)
        return Content("\n").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Content]:
        if self._rows is None or self._rows[0] != width:
            node = self.block.node
            self._rows = (width, flow.rows(node, width) if node is not None and width else [])
        return self._rows[1]


class CodeBlock(Widget):
    """Code. While it is written its lines come without colours, at a cost that does not grow; complete, it has them."""

    DEFAULT_CSS = """
    CodeBlock {
        height: auto;
        margin: 0 0 1 0;
        padding: 0 1;
        border: round $rule;
        border-title-color: $faint;
        background: $code-background;
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = set()

    def __init__(self, language: str, source: str = "") -> None:
        super().__init__(markup=False)
        self.source = source
        """What of the document it shows; its fences included."""
        self.code = ""
        self.is_open = True
        self._language = language
        self._complete: Content | None = None
        self._width = 0
        self._rows: list[str] = []
        """Wrapped lines of all of the code but the last line."""
        self._last: list[str] = []
        """The wrapped last line."""
        self._wrapped_to = 0
        """Index into the code up to which `_rows` goes."""
        self.border_title = Content(language) if language else None

    @classmethod
    def of(cls, block: Block) -> CodeBlock:
        """A complete one."""
        view = cls(block.language)
        view.show(block)
        return view

    def extend(self, source: str, code: str) -> None:
        """Replace the code by one that begins with it, and is not complete."""
        self.source, self.code = source, code
        height = self._height
        self._wrap()
        self.refresh(layout=self._height != height)

    def show(self, block: Block) -> None:
        """Complete it."""
        if not self.is_open and block.source == self.source:
            return
        self.source, self.code, self.is_open = block.source, block.code, False
        self.border_title = Content(block.language) if block.language else None
        self._complete = flow.coloured(block.code, block.language)
        self.refresh(layout=True)

    def notify_style_update(self) -> None:
        self._layout_cache.clear()
        super().notify_style_update()

    def render(self) -> Content:
        return self._complete if self._complete is not None else Content("\n".join([*self._rows, *self._last]))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if not self.is_open:
            return super().get_content_height(container, viewport, width)
        if width != self._width:
            self._width = width
            self._rows, self._last, self._wrapped_to = [], [], 0
            self._wrap()
        return max(1, self._height)

    def render_line(self, y: int) -> Strip:
        if not self.is_open:
            return super().render_line(y)
        row = self._rows[y] if y < len(self._rows) else "".join(self._last[y - len(self._rows) :][:1])
        style = self.rich_style
        return Strip([Segment(row, style)]).adjust_cell_length(self.size.width, style)

    @property
    def _height(self) -> int:
        return len(self._rows) + len(self._last)

    def _wrap(self) -> None:
        if self._width <= 0:
            return
        *lines, last = self.code[self._wrapped_to :].split("\n")
        for line in lines:
            self._rows += self._wrap_line(line)
            self._wrapped_to += len(line) + 1
        # The line end before a closing fence is no line of the block.
        self._last = self._wrap_line(last) if last else []

    def _wrap_line(self, line: str) -> list[str]:
        line = line.expandtabs(TAB)
        if len(line) <= self._width and line.isascii():
            return [line]
        return [row.plain for row in Content(line).wrap(self._width)] or [""]


BlockView = FlowBlock | CodeBlock


def view_of(block: Block) -> BlockView:
    return CodeBlock.of(block) if block.is_code else FlowBlock(block)


def accepts(view: BlockView, block: Block) -> bool:
    """Whether the widget can show the block."""
    return isinstance(view, CodeBlock) == block.is_code
