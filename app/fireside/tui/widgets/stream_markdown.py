"""Markdown that arrives in pieces, rendered at a price that the model can spare.

Pieces are buffered; a timer renders them, the later the more the last rendering cost. Only the last block is parsed
again, and it is changed in place. An open code fence gets its lines without colours, and its colours once, when it
closes. While nobody looks at the end of the text nothing is rendered at all. At the end the whole source is parsed
once more, so that what is shown does not depend on how it arrived. On every way out `shown` is then what was written.
"""

from __future__ import annotations

import asyncio
import time

from textual.containers import Vertical
from textual.timer import Timer

from fireside.tui.markdown import Block, blocks
from fireside.tui.source import GrowingSource
from fireside.tui.widgets.blocks import BlockView, CodeBlock, accepts, view_of

SHORTEST, LONGEST = 0.1, 1.0
"""Seconds between two renderings."""
COST_FACTOR = 20
"""Between two renderings passes at least this multiple of what the last one cost, so they take 5 % at most."""


class StreamMarkdown(Vertical):
    """Write to it; `finish` it."""

    DEFAULT_CSS = """
    StreamMarkdown { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._source = GrowingSource()
        self._views: list[BlockView] = []
        self._last_start = 0
        """Where in the source the last settled block begins."""
        self._settled_views = 0
        """How many views show settled blocks; one more may show an open fence."""
        self._timer: Timer | None = None
        self._cost = 0.0
        self._lock = asyncio.Lock()
        self._finished = False
        self._following = True

    @property
    def source(self) -> str:
        """All that was written."""
        return self._source.text

    @property
    def shown(self) -> str:
        """The source of what is on the screen."""
        return "".join(view.source for view in self._views)

    @property
    def following(self) -> bool:
        """Whether somebody looks at the end of the text; if not, nothing is rendered."""
        return self._following

    @following.setter
    def following(self, following: bool) -> None:
        woken = following and not self._following
        self._following = following
        if woken:
            self._schedule()

    def write(self, text: str) -> None:
        """Take a piece. It must not hold terminal control."""
        self._source.feed(text)
        self._schedule()

    async def finish(self) -> None:
        """Render the whole, whoever looks."""
        self._finished = True
        if self._timer is not None:
            self._timer.stop()
        async with self._lock:
            await self._replace(0, blocks(self.source))

    def _schedule(self) -> None:
        if self._timer is None and self._following and not self._finished:
            delay = min(max(COST_FACTOR * self._cost, SHORTEST), LONGEST)
            self._timer = self.set_timer(delay, self._on_timer)

    async def _on_timer(self) -> None:
        started = time.thread_time()
        async with self._lock:
            if not self._finished and self._following:
                await self._render_new()
        # Layout and painting come after this call and cost more than it does.
        self.call_after_refresh(self._measure, started)

    def _measure(self, started: float) -> None:
        self._cost = time.thread_time() - started
        self._timer = None
        if len(self.shown) < self._source.shown:
            self._schedule()

    async def _render_new(self) -> None:
        # More may be written while widgets are mounted, so what is rendered now is decided first.
        source, fence = self._source, self._source.fence
        end, shown, code = source.settled, source.shown, source.code
        if len(self.shown) < end:
            new = blocks(source.text[self._last_start : end])
            first = max(0, self._settled_views - 1)
            await self._replace(first, new)
            self._settled_views = first + len(new)
            self._last_start = end - len(new[-1].source) if new else self._last_start
        if fence is not None:
            if len(self._views) == self._settled_views:
                self._views.append(CodeBlock(fence.language))
                await self.mount(self._views[-1])
            view = self._views[-1]
            if isinstance(view, CodeBlock):
                view.extend(source.text[fence.start : shown], code)

    async def _replace(self, first: int, new: list[Block]) -> None:
        """Show these blocks from view `first` on, in the views that are there as far as possible."""
        same = 0
        for view, block in zip(self._views[first:], new, strict=False):
            if not accepts(view, block):
                break
            view.show(block)
            same += 1
        gone, self._views[first + same :] = self._views[first + same :], []
        fresh = [view_of(block) for block in new[same:]]
        if not gone and not fresh:
            return
        self._views += fresh
        with self.app.batch_update():
            for view in gone:
                await view.remove()
            await self.mount_all(fresh)
