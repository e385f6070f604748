"""What the terminal app costs: CPU per 1,000 streamed tokens, and the opening of a long chat. Run by hand:

    python tests/bench/tui_bench.py [--rate 200] [--tokens 1000] [KIND…]

The engine is a stand-in in the same process that sends one token per chunk at a set rate; its own cost is measured with
an app that drops the chunks, and shown beside. Times are CPU seconds of this process, so load disturbs little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from tui_fake import NAME, FakeEngine, Script

from fireside.account import Account
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.tui.app import FiresideApp
from fireside.tui.screens.chat import ChatScreen
from fireside.tui.widgets.message import WhyLine
from fireside.tui.widgets.stream_markdown import StreamMarkdown
from fireside.tui.widgets.transcript_view import TranscriptView

PIECE = 4
"""Characters of a token."""
SENTENCE = "The borrow of `v` lives until its **last use**, so the push happens while it is *borrowed*. "
CODE = "def step_{0}(x: int) -> int:\n    value = x * {0} + 1  # keep it odd\n    return value if value > 3 else {0}\n"


def text_of(kind: str, n_tokens: int) -> str:
    """Markdown of about that many tokens."""
    parts = {
        "prose": lambda at: SENTENCE * 4 + "\n\n",
        "one paragraph": lambda at: SENTENCE,
        "list": lambda at: f"- **item {at}**: {SENTENCE[:60]}\n",
        "table": lambda at: (
            ("| way | cost | note |\n|---|---|---|\n" if at == 0 else "") + f"| {at} | `x{at}` | fine |\n"
        ),
        "code": lambda at: ("```python\n" if at == 0 else "") + CODE.format(at),
        "mixed": lambda at: f"## Part {at}\n\n{SENTENCE}\n\n1. one\n2. two\n\n```python\n{CODE.format(at) * 3}```\n\n",
    }[kind]
    text, at = "", 0
    while len(text) < n_tokens * PIECE:
        text += parts(at)
        at += 1
    return text[: n_tokens * PIECE]


async def drain(engine: FakeEngine) -> float:
    began = time.process_time()
    async for _ in engine.chat({"model": ""}):
        pass
    return time.process_time() - began


async def stream(kind: str, n_tokens: int, rate: float, size: tuple[int, int], *, away: bool) -> None:
    script = Script(text=text_of(kind, n_tokens), piece=PIECE)
    fake = await drain(FakeEngine([script], rate=rate))
    engine = FakeEngine([script], rate=rate)
    app = FiresideApp(engine)
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        while not engine.loaded:
            await pilot.pause(0.05)
        await asyncio.sleep(1)
        began, wall = time.process_time(), time.monotonic()
        await asyncio.sleep(2)
        idle = (time.process_time() - began) / 2
        screen.query_one("Prompt").insert("go")
        await pilot.press("enter")
        began, wall = time.process_time(), time.monotonic()
        transcript = screen.query_one(TranscriptView)
        while engine.closed == 0:
            await asyncio.sleep(0.25)
            if away and transcript.at_end and transcript.max_scroll_y > 0:
                transcript.scroll_to(y=0, animate=False, immediate=True)
        while not screen.query(WhyLine):
            await pilot.pause(0.05)
        cpu, took = time.process_time() - began, time.monotonic() - wall
        assert screen.query_one(StreamMarkdown).shown == script.text
    per_thousand = (cpu - fake) * 1000 / n_tokens
    print(
        f"{kind + (' (scrolled away)' if away else ''):24} {per_thousand:6.2f} s CPU per 1,000 tokens"
        f" ({(cpu - fake) / took:5.1%} of a core while it streams)"
        f" in {took:.1f} s · stand-in {fake:.2f} s · idle {idle:.1%}"
    )


def fill(n_messages: int) -> None:
    """A conversation on disk, with answers of 250 tokens."""
    conversation = Conversation()
    for _ in range(n_messages // 2):
        conversation.ask("What about this one?")
        conversation.answer(text_of("mixed", 250), model=NAME, account=Account(model=NAME, generated=250, rate=20.0))
    store = Store()
    store.save(conversation, conversation.turns.values())
    store.close()


async def open_chat(n_messages: int, size: tuple[int, int]) -> None:
    fill(n_messages)
    engine = FakeEngine()
    app = FiresideApp(engine)
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        while not engine.loaded:
            await pilot.pause(0.05)
        began, wall = time.process_time(), time.monotonic()
        await screen.chats.open("last")
        await pilot.pause()
        opened, took = time.process_time() - began, time.monotonic() - wall
        assert len(screen.state.conversation.path()) == n_messages
        mounted = len(screen.query("*"))
        began = time.process_time()
        for _ in range(20):
            screen.query_one(TranscriptView).scroll_relative(y=-3, animate=False)
            await pilot.pause()
        scroll = (time.process_time() - began) / 20
    print(
        f"{n_messages} messages: opened in {took:.2f} s ({opened:.2f} s CPU) · {mounted} widgets mounted"
        f" · a scroll step {scroll * 1e3:.0f} ms CPU"
    )


async def main() -> None:
    kinds = ["prose", "one paragraph", "list", "table", "code", "mixed"]
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=kinds)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--size", default="100x30")
    args = parser.parse_args()
    width, height = (int(part) for part in args.size.split("x"))
    for kind in args.kinds:
        await stream(kind, args.tokens, args.rate, (width, height), away=False)
    await stream("mixed", args.tokens, args.rate, (width, height), away=True)
    await open_chat(500, (width, height))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["FIRESIDE_HOME"] = home
        asyncio.run(main())
