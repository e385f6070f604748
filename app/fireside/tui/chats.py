"""Conversations as a whole: opening, beginning, branching, naming, removing and writing them to files.

Every method gives the words that tell the user what happened, empty where the screen shows it. They raise Failure.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path

from fireside.conversations.documents import document, kind_of
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation, Turn
from fireside.failure import Failure
from fireside.tui.answering import Answering
from fireside.tui.chat_settings import ChatSettings
from fireside.tui.clipboard import write_file
from fireside.tui.screen_text import on_one_line
from fireside.tui.showing import entries_of
from fireside.tui.state import ChatState
from fireside.tui.unsent import Unsent
from fireside.tui.widgets.transcript_view import TranscriptView
from fireside.wording import plural

DEFAULT_PATH = re.compile(r"[^\w]+")


class Chats:
    """Of one chat screen."""

    def __init__(self, state: ChatState, transcript: TranscriptView, answering: Answering, unsent: Unsent) -> None:
        self._unsent = unsent
        self._state = state
        self._transcript = transcript
        self._answering = answering

    async def begin(self) -> None:
        """A new chat with the same system prompt and settings."""
        await self._enter(Conversation(system=self._state.conversation.system), carries=True)

    async def open(self, word: str, turn: str = "") -> None:
        """A chat by its id, the beginning of it, or `last`; at a turn, on whichever branch it is."""
        conversation = await self._state.archive.call(lambda store: store.load(store.resolve(word)))
        if turn in conversation.turns:
            conversation.go_back(conversation.newest_leaf(turn))
        last = conversation.last
        self._state.settings = ChatSettings.of_json(conversation.settings)
        if not self._state.settings.model and (answer := conversation.last_answer()) is not None:
            # A model that was asked by a file's path may be unknown to this engine; asking shows it.
            self._state.settings = ChatSettings.of_json({**conversation.settings, "model": answer.model})
        await self._enter(conversation)
        if last is not None and turn:
            await self._transcript.stand_at(turn)

    async def go_to(self, turn: str) -> None:
        """Show the newest branch that has a turn, and stand at the turn."""
        conversation = self._state.conversation
        conversation.go_back(conversation.newest_leaf(turn))
        self._state.look_at_last()
        await self._state.archive.save(conversation)
        await self._transcript.show(entries_of(conversation))
        await self._transcript.stand_at(turn)

    async def switch(self, turn: Turn, step: int) -> str:
        """Show the branch beside this one."""
        siblings = self._state.conversation.siblings(turn)
        at = [sibling.id for sibling in siblings].index(turn.id) + step
        if not 0 <= at < len(siblings):
            return "There is no other branch here." if len(siblings) == 1 else "This is the last branch here."
        await self.go_to(siblings[at].id)
        return ""

    async def fork(self, turn: Turn) -> str:
        """A new chat that begins with everything up to a turn."""
        copy = self._state.conversation.fork(turn.id)
        if self._state.conversation.named:
            copy.named = f"{self._state.conversation.named} (fork)"
        await self._state.archive.save(copy, copy.turns.values())
        await self._enter(copy, carries=True)
        return "A new chat, with everything up to here"

    async def remove_turn(self, turn: Turn) -> str:
        """Remove a turn and what is below it; a sibling takes its place, or what was before it."""
        conversation = self._state.conversation
        gone = conversation.branch(turn.id)
        others = [sibling for sibling in conversation.siblings(turn) if sibling.id != turn.id]
        conversation.go_back(conversation.newest_leaf(others[-1].id) if others else turn.parent)
        conversation.forget(gone)
        self._state.look_at_last()
        await self._state.archive.discard(conversation, [turn.id])
        await self._transcript.clear(keeps_focus=True)
        await self._transcript.show(entries_of(conversation))
        return f"Removed {plural(len(gone), 'message')}"

    async def left_by_removal(self, ids: list[str]) -> None:
        """These chats were removed for good; the one that is shown gives way to a new one."""
        if self._state.conversation.id in ids:
            await self.begin()
        await self.tell_engine()

    async def tell_engine(self) -> None:
        """Have the engine remove the KV of chats that are gone; an engine that cannot be reached is told later."""
        archive = self._state.archive
        if not archive.is_on:
            return
        for id_ in await archive.call(Store.removed):
            try:
                await self._state.engine.forget(id_)
            except Failure:
                # Its id stays on the list of those of which the engine may still have something.
                return
            await archive.call(partial(Store.forget_removed, ids=[id_]))

    async def rename(self, title: str) -> str:
        conversation = self._state.conversation
        if not conversation.turns:
            return "There is nothing to name yet."
        conversation.named = title
        await self._state.archive.call(lambda store: store.rename(conversation.id, title))
        return f"Named “{on_one_line(title)}”" if title else "Named after its first question again"

    async def export(self, path: str) -> str:
        """Write the chat to a file: Markdown, or JSON or HTML where the name ends so."""
        conversation = self._state.conversation
        if not conversation.turns:
            return "There is nothing to write yet."
        text = document([conversation], kind_of(path))
        return f"Wrote {await asyncio.to_thread(_write, text, path, conversation.title)}"

    async def _enter(self, conversation: Conversation, *, carries: bool = False) -> None:
        """Show it; what is being written stays with the chat before, unless it is carried along."""
        self._answering.stop()
        await self._unsent.leave(carries=carries)
        self._state.enter(conversation)
        self._answering.forget()
        await self._transcript.clear()
        await self._transcript.show(entries_of(conversation))
        if not carries:
            await self._unsent.restore()


def _write(text: str, path: str, title: str) -> Path:
    if path:
        target = Path(path).expanduser().resolve()
        target.write_text(text, encoding="utf-8", errors="replace")
        return target
    name = DEFAULT_PATH.sub("-", title.lower()).strip("-")[:40].strip("-") or "chat"
    return write_file(text, Path.cwd(), ".md", name)
