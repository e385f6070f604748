"""Streaming Markdown: whatever comes, however cut, what is shown is what was written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot

from fireside.tui.markdown import blocks
from fireside.tui.source import code_blocks
from fireside.tui.widgets import stream_markdown
from fireside.tui.widgets.blocks import CodeBlock, FlowBlock
from fireside.tui.widgets.stream_markdown import StreamMarkdown

DOCUMENT = """Intro with *style*, [a link][ref] and a line
that goes on.

# Title

- one
- two
  ```sh
  nested
  ```
- three

```python
def f(x):
    return x

```

| a | b |
|---|---|
| 1 | 2 |

~~~
``` not the end
~~~

> quote

[ref]: https://example.org

```js
let open
"""


class StreamApp(App[None]):
    CSS = "StreamMarkdown { height: auto; }"

    def __init__(self, streams: list[StreamMarkdown]) -> None:
        super().__init__()
        self._streams = streams

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield from self._streams

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"faint": "#888888", "rule": "#333333", "code-background": "#111111"}


def run(streams: list[StreamMarkdown], check: Callable[[Pilot[None]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with StreamApp(streams).run_test(size=(60, 30)) as pilot:
            await check(pilot)

    asyncio.run(main())


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("it never happened")


def cuts(text: str, seed: int) -> list[str]:
    chance = random.Random(seed)
    pieces = []
    while text:
        size = chance.choice((1, 2, 3, 8, 40))
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def kinds(stream: StreamMarkdown) -> list[str]:
    return [view.block.kind if isinstance(view, FlowBlock) else "code" for view in stream._views]


def test_the_end_does_not_depend_on_the_cuts_nor_on_when_it_was_rendered() -> None:
    streams = [StreamMarkdown() for _ in range(6)]

    async def check(pilot: Pilot[None]) -> None:
        for seed, stream in enumerate(streams):
            end = len(DOCUMENT) if seed % 2 else random.Random(seed).randrange(len(DOCUMENT))
            for number, piece in enumerate(cuts(DOCUMENT[:end], seed)):
                stream.write(piece)
                if number % 5 == seed % 5:
                    async with stream._lock:
                        await stream._render_new()
                    assert DOCUMENT.startswith(stream.shown)
                    assert stream._source.settled <= len(stream.shown) <= len(stream.source)
            await stream.finish()
            await pilot.pause()
            document = DOCUMENT[:end]
            assert stream.source == document
            assert stream.shown == document
            assert kinds(stream) == ["code" if block.is_code else block.kind for block in blocks(document)]
            shown = [view.code for view in stream._views if isinstance(view, CodeBlock)]
            top = [block.code for block in blocks(document) if block.is_code]
            assert shown == top
            assert all(not view.is_open for view in stream._views if isinstance(view, CodeBlock))

    run(streams, check)


def test_what_is_written_while_widgets_are_mounted_is_shown_too() -> None:
    streams = [StreamMarkdown() for _ in range(4)]

    async def check(pilot: Pilot[None]) -> None:
        async def render(stream: StreamMarkdown) -> None:
            while stream.shown != DOCUMENT and not stream._finished:
                async with stream._lock:
                    await stream._render_new()
                assert DOCUMENT.startswith(stream.shown)
                shown = [view.block.source for view in stream._views if isinstance(view, FlowBlock)]
                assert all(source in stream.shown for source in shown)
                await asyncio.sleep(0)

        async def write(stream: StreamMarkdown, seed: int) -> None:
            for piece in cuts(DOCUMENT, seed):
                stream.write(piece)
                await asyncio.sleep(0)

        for seed, stream in enumerate(streams):
            rendering = asyncio.create_task(render(stream))
            await write(stream, seed)
            await asyncio.sleep(0.05)
            await stream.finish()
            await rendering
            assert stream.shown == DOCUMENT

    run(streams, check)


def test_the_timer_renders_and_an_open_fence_is_coloured_once_when_it_closes() -> None:
    stream = StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        stream.write("Look:\n\n```python\nx = 1\n")
        await until(pilot, lambda: stream.shown == stream.source)
        (code,) = stream.query(CodeBlock)
        assert (code.is_open, code.code) == (True, "x = 1\n")
        for number in range(40):
            stream.write(f"y = {number}\n")
        await until(pilot, lambda: "y = 39" in code.code)
        stream.write("```\nAfter.")
        await until(pilot, lambda: stream.shown == stream.source)
        assert list(stream.query(CodeBlock)) == [code]
        assert not code.is_open
        assert code.size.height == 41
        await stream.finish()
        assert list(stream.query(CodeBlock)) == [code]

    run([stream], check)


def test_nothing_is_rendered_while_nobody_looks_and_all_of_it_after() -> None:
    stream = StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        stream.write("seen\n\n")
        await until(pilot, lambda: stream.shown == stream.source)
        stream.following = False
        stream.write("more\n\n")
        await pilot.pause(3 * stream_markdown.SHORTEST)
        assert stream.shown == "seen\n\n"
        stream.following = True
        await until(pilot, lambda: stream.shown == "seen\n\nmore\n\n")
        stream.following = False
        stream.write("```\nend")
        await stream.finish()
        assert stream.shown == stream.source == "seen\n\nmore\n\n```\nend"

    run([stream], check)


def test_a_dear_rendering_makes_the_next_one_wait() -> None:
    stream = StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        stream._cost = 1.0
        stream.write("a")
        assert stream._timer is not None
        assert stream._timer._interval == stream_markdown.LONGEST
        await stream.finish()
        assert stream.shown == "a"

    run([stream], check)


def test_finishing_before_anything_came_or_was_rendered() -> None:
    empty, quick = StreamMarkdown(), StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        await empty.finish()
        assert empty.shown == ""
        quick.write("at once")
        await quick.finish()
        assert quick.shown == "at once"

    run([empty, quick], check)


def test_blocks_that_are_the_same_at_the_end_keep_their_widgets() -> None:
    stream = StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        document = "one\n\n- a\n- b\n\n```\nx\n```\n\ntwo\n"
        stream.write(document)
        await until(pilot, lambda: stream.shown == document)
        before = list(stream._views)
        await stream.finish()
        assert stream._views == before

    run([stream], check)


def test_code_is_wrapped_the_same_while_open_and_when_complete() -> None:
    stream = StreamMarkdown()

    async def check(pilot: Pilot[None]) -> None:
        code = "\n".join(["short", "word " * 40, "x" * 150, "", "\tindented", "日本語" * 30])
        stream.write(f"```\n{code}\n")
        await until(pilot, lambda: stream.shown == stream.source)
        (view,) = stream.query(CodeBlock)
        await pilot.pause()
        height = view.size.height
        stream.write("```\n")
        await until(pilot, lambda: not view.is_open)
        await pilot.pause()
        assert view.size.height == height
        assert code_blocks(stream.source)[0].code.rstrip("\n") == code

    run([stream], check)
