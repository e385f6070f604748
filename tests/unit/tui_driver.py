"""Drives the terminal app by its keys, and sees what a user sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot
from textual.widgets import Static
from tui_fake import FakeEngine

from fireside.tui import fetching
from fireside.tui.app import FiresideApp
from fireside.tui.archive import Archive
from fireside.tui.screens.chat import ChatScreen
from fireside.tui.start import Start
from fireside.tui.status_line import Phase
from fireside.tui.widgets.message import AnswerMessage, Notice, UserMessage
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.transcript_view import TranscriptView


class Driver:
    """An app that runs, and what a user sees of it."""

    def __init__(self, pilot: Pilot[int], engine: FakeEngine) -> None:
        self.pilot = pilot
        self.engine = engine
        screen = next(screen for screen in pilot.app.screen_stack if isinstance(screen, ChatScreen))
        self.chat = screen
        self.prompt = screen.query_one(Prompt)
        self.transcript = screen.query_one(TranscriptView)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(2000):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.01)
        raise AssertionError("it never happened")

    async def ready(self) -> None:
        await self.until(lambda: self.chat.state.view().phase is Phase.READY)

    async def send(self, text: str) -> None:
        self.prompt.insert(text)
        await self.pilot.press("enter")

    async def ask(self, text: str = "Hi") -> None:
        """Send, and wait for the end."""
        before = self.engine.closed
        await self.send(text)
        await self.until(lambda: self.engine.closed > before and self.chat.state.generation is None)

    @property
    def messages(self) -> list[str]:
        """The transcript: who, and what."""
        found = []
        for widget in self.transcript.mounted:
            if isinstance(widget, AnswerMessage):
                found.append(f"model: {widget.source.strip()}")
            elif isinstance(widget, UserMessage):
                found.append(f"you: {widget.render()}")
            elif isinstance(widget, Notice):
                found.append(f"notice: {widget.render()}")
        return found

    def text(self, kind: type[Static]) -> str:
        return "\n".join(str(widget.render()) for widget in self.chat.query(kind))

    @property
    def path(self) -> list[tuple[str, str]]:
        return [(turn.role, turn.text) for turn in self.chat.state.conversation.path()]

    @property
    def toasts(self) -> str:
        return "\n".join(toast.message for toast in self.pilot.app._notifications)


def drive(
    engine: FakeEngine,
    scenario: Callable[[Driver], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    model: str = "",
    resume: str = "",
    saves: bool = True,
    start: Start | None = None,
    pull: fetching.Start = fetching.start_pull,
) -> None:
    async def main() -> None:
        app = FiresideApp(engine, start or Start(model, resume=resume), Archive(is_on=saves), pull=pull)
        async with app.run_test(size=size) as pilot:
            await scenario(Driver(pilot, engine))

    asyncio.run(main())
