"""What is being written stays with its chat: kept while it is typed and when the app is left, shown again later."""

from __future__ import annotations

from collections.abc import Callable

from textual.timer import Timer

from fireside.conversations import desk
from fireside.conversations.store import Store
from fireside.failure import Failure
from fireside.tui.state import ChatState
from fireside.tui.widgets.prompt import Prompt

PAUSE = 0.7
"""Seconds after the last key before it is written."""


class Unsent:
    """Of one chat screen."""

    def __init__(self, state: ChatState, prompt: Prompt) -> None:
        self._state = state
        self._prompt = prompt
        self._kept = ""
        """What is written of the present chat."""
        self._timer: Timer | None = None

    def changed(self) -> None:
        """The prompt has another text."""
        if self._timer is not None:
            self._timer.stop()
        if self._state.archive.is_on:
            self._timer = self._prompt.set_timer(PAUSE, self.keep)

    async def keep(self, text: str | None = None) -> None:
        """Write what is in the prompt, or another text, if it is not written yet."""
        if (keeping := self._keeping(text)) is not None:
            try:
                await self._state.archive.call(keeping)
            except Failure as failure:
                self._state.archive.failure = failure

    async def sent(self) -> None:
        """What was written is a message now. At once, because the chat has another name after its first one."""
        await self.keep("")

    def keep_before_leaving(self) -> None:
        """The same, for when there is no time to wait: closing the archive waits for it."""
        if (keeping := self._keeping()) is not None:
            self._state.archive.begin(keeping)

    async def restore(self) -> None:
        """Show what was being written in the present chat. Raises Failure."""
        if not self._state.archive.is_on:
            return
        place = self._place
        text = await self._state.archive.call(lambda store: desk.draft_of(store, place))
        # Keys may have been faster than the disk.
        if not self._prompt.text:
            self._kept = text
            if text:
                self._prompt.show_text(text)

    async def leave(self, *, carries: bool) -> None:
        """Another chat is about to be shown; where the text is carried along, it is no longer this one's."""
        await self.keep("" if carries else None)
        if not carries:
            self._prompt.clear()
        self._kept = ""

    @property
    def _place(self) -> str:
        conversation = self._state.conversation
        return conversation.id if conversation.turns else desk.NEW_CHAT

    def _keeping(self, text: str | None = None) -> Callable[[Store], None] | None:
        text, place = self._prompt.whole_text if text is None else text, self._place
        if not self._state.archive.is_on or text == self._kept:
            return None
        self._kept = text
        return lambda store: desk.keep_draft(store, place, text)
