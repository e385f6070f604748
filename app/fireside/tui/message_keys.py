"""What keys do with the message that the reader stands at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fireside.wording import plural

if TYPE_CHECKING:
    from fireside.conversations.tree import Turn
    from fireside.tui.screens.chat import ChatScreen

SECOND_PRESS = 2.0
"""Seconds in which a second press means more than the first: ctrl+c quits, esc edits, d removes."""


class MessageKeys:
    """Of one chat screen."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._deleting: tuple[str, float] = ("", 0.0)
        """The turn that d was pressed at, and when."""

    async def do(self, what: str, key: str) -> None:
        """Do something with the turn `key`; without one, with the last one of the chat."""
        screen = self._screen
        conversation = screen.state.conversation
        turn = conversation.turns.get(key) or conversation.last
        match what:
            case "write":
                await screen.copy("file")
            case "export":
                await screen.between_answers(lambda: screen.chats.export(""))
            case "tree":
                screen.action_tree()
            case "copy" | "code":
                text = turn.text if turn is not None and key else None
                await screen.copy("code" if what == "code" else "answer", text)
            case _ if turn is None:
                screen.toast("There is no message yet.")
            case "edit":
                asked = next((t for t in reversed(conversation.path(turn.id)) if t.role == "user"), None)
                screen.edit(asked)
            case "retry":
                screen.action_retry(turn)
            case "before" | "after":
                step = -1 if what == "before" else 1
                await screen.between_answers(lambda: screen.chats.switch(turn, step))
            case "fork":
                await screen.between_answers(lambda: screen.chats.fork(turn))
            case "delete":
                await self._delete(turn)

    async def _delete(self, turn: Turn) -> None:
        screen = self._screen
        if self._deleting[0] == turn.id and time.monotonic() - self._deleting[1] < SECOND_PRESS:
            await screen.between_answers(lambda: screen.chats.remove_turn(turn))
            return
        self._deleting = (turn.id, time.monotonic())
        below = len(screen.state.conversation.branch(turn.id)) - 1
        more = f" and the {plural(below, 'message')} below it" if below else ""
        screen.toast(f"Press d again to remove this message{more} for good.")
