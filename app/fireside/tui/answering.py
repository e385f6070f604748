"""Questions and answers: asks, queues, stops, retries, and puts what came of it into conversation, disk and transcript.

Nothing that was written is lost: a question is on the disk before it is shown, an answer grows there while it comes, a
question that got no answer goes back to the prompt, and text that came before an error or a stop stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fireside.account import Account
from fireside.conversations.tree import Conversation, Turn
from fireside.tui.drafts import Draft
from fireside.tui.generation import Generation, Result
from fireside.tui.showing import entries_of, entry_of
from fireside.tui.state import ChatState
from fireside.tui.widgets.message import AnswerMessage, Notice
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.transcript_view import Entry, TranscriptView
from fireside.wire import JsonObject

BACK = "Your message is back in the prompt."
CHECKPOINT = 2.0
"""Seconds between two savings of an answer that is being written."""


@dataclass(slots=True)
class _Exchange:
    """A question that is being answered, and what to restore if it is not."""

    question: Turn
    leaf: str | None
    """Of the conversation before it."""
    conversation: Conversation
    generation: Generation
    widget: AnswerMessage
    body: JsonObject
    model: str
    is_retry: bool = False
    """The question stays, whatever comes."""
    instead: Turn | None = None
    """The question that this one is another version of."""
    answer: Turn | None = None
    """What came of it so far."""

    @property
    def common(self) -> str | None:
        """The last turn that this branch has in common with the one that was shown before."""
        return self.question.id if self.is_retry else self.question.parent


class Answering:
    """Of one chat screen."""

    def __init__(
        self, state: ChatState, transcript: TranscriptView, prompt: Prompt, changed: Callable[[], None]
    ) -> None:
        self._state = state
        self._transcript = transcript
        self._prompt = prompt
        self._changed = changed
        """Called when something changed that other parts of the screen show."""
        self._active = False
        self._entry: Entry | None = None
        """The message of the answer that is being written."""
        self._unanswered = ""
        """A question that went back to the prompt."""

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way, or its end is being put in order."""
        return self._active

    @property
    def shown_text(self) -> str:
        """The last answer, or what has come of it."""
        entry = self._transcript.last_answer
        widget = entry.widget if entry else None
        return widget.source if isinstance(widget, AnswerMessage) else ""

    async def ask(self, draft: Draft) -> None:
        """Send a message and show its answer, then those of the messages that were queued meanwhile."""
        self._state.queue.append(draft)
        await self.go_on()

    async def go_on(self) -> None:
        """Send what waits, unless an answer is being written, or the first model is not here yet."""
        if self.is_busy or self._state.waits_for_model:
            self._changed()
            return
        self._active = True
        try:
            while self._state.queue:
                await self._ask(self._state.queue.pop(0))
        finally:
            self._active = False
            self._changed()

    async def retry(self, beside: Turn | None = None) -> bool:
        """Answer a question again, with a new seed: that of an answer, or the last one.

        False if there is none, or an answer is being written.
        """
        conversation = self._state.conversation
        if beside is None and self._unanswered and self._prompt.text.strip() == self._unanswered:
            self._prompt.action_send()
            return True
        if self.is_busy:
            return False
        leaf = conversation.leaf
        if beside is not None:
            conversation.go_back(beside.id)
        question = conversation.retry()
        if question is None:
            conversation.go_back(leaf)
            return False
        self._active = True
        try:
            exchange = self._begin(question, leaf, is_retry=True)
            await self._transcript.cut_after(question.id)
            await self._run(exchange)
        finally:
            self._active = False
            self._changed()
        return True

    def stop(self) -> bool:
        """Stop the present answer; queued messages go back to the prompt. False if there is nothing to stop."""
        if (generation := self._state.generation) is None:
            return self.give_back_queue()
        self.give_back_queue()
        generation.stop()
        return True

    def give_back_queue(self) -> bool:
        """Put what waits into the prompt again. False if nothing waits."""
        if not self._state.queue:
            return False
        self._prompt.give_back("\n\n".join(draft.text for draft in self._state.queue))
        self._state.queue.clear()
        return True

    def forget(self) -> None:
        """Another conversation is shown."""
        self._unanswered = ""

    async def _ask(self, draft: Draft) -> None:
        conversation = self._state.conversation
        leaf = conversation.leaf
        if draft.instead is not None and draft.instead.id in conversation.turns:
            conversation.go_back(draft.instead.parent)
        before = entries_of(conversation)
        question = conversation.ask(draft.text, draft.materials)
        conversation.settings = self._state.settings.to_json()
        exchange = self._begin(question, leaf, instead=draft.instead)
        await self._state.archive.save(conversation, [question])
        if self._state.conversation is conversation:
            if draft.instead is not None:
                await self._transcript.show(before)
            await self._transcript.add(entry_of(conversation, question))
        await self._run(exchange)

    def _begin(
        self, question: Turn, leaf: str | None, *, is_retry: bool = False, instead: Turn | None = None
    ) -> _Exchange:
        """Everything that must be settled before the first wait, after which keys may change it."""
        state = self._state
        self._unanswered = ""
        widget = AnswerMessage()
        state.generation = Generation(state.engine, widget)
        body = state.settings.body(state.conversation, saves=state.archive.is_on, new_seed=is_retry)
        return _Exchange(
            question, leaf, state.conversation, state.generation, widget, body, state.model, is_retry, instead
        )

    async def _run(self, exchange: _Exchange) -> None:
        state = self._state
        if state.conversation is exchange.conversation:
            self._transcript.follow_end()
            self._entry = await self._transcript.add(Entry("", AnswerMessage, exchange.widget))
        self._changed()
        try:
            async with self._growing(exchange):
                result = await exchange.generation.run(exchange.body, exchange.model)
        except asyncio.CancelledError:
            # The app is leaving.
            reply = exchange.generation.reply
            if reply.text or reply.reasoning:
                state.archive.save_before_leaving(
                    exchange.conversation, [self._keep_text(exchange, reply.text, reply.reasoning)]
                )
            raise
        finally:
            state.generation = None
        await self._keep(result, exchange)
        self._changed()

    @contextlib.asynccontextmanager
    async def _growing(self, exchange: _Exchange) -> AsyncIterator[None]:
        """Save what came so far every few seconds."""

        async def save() -> None:
            reply, saved = exchange.generation.reply, 0
            while True:
                await asyncio.sleep(CHECKPOINT)
                if (length := len(reply.text) + len(reply.reasoning)) > saved:
                    saved = length
                    turn = self._keep_text(exchange, reply.text, reply.reasoning)
                    await self._state.archive.save(exchange.conversation, [turn])

        task = asyncio.create_task(save())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _keep_text(self, exchange: _Exchange, text: str, reasoning: str, account: Account | None = None) -> Turn:
        """Put what came into the conversation, wherever in it the reader may be by now."""
        conversation = exchange.conversation
        if exchange.answer is None:
            here, there = conversation.leaf, exchange.question.id
            conversation.go_back(there)
            exchange.answer = conversation.answer("", settings=_settings_of(exchange.body))
            if here != there:
                conversation.go_back(here)
        model = account.model if account else exchange.generation.reply.model or exchange.model
        exchange.answer = conversation.amend(
            exchange.answer, text=text, reasoning=reasoning, model=model, account=account
        )
        return exchange.answer

    async def _keep(self, result: Result, exchange: _Exchange) -> None:
        conversation, failed = exchange.conversation, result.failure is not None
        if result.is_empty and result.account.ending in ("failed", "stopped"):
            await self._undo(result, exchange)
            return
        turn = self._keep_text(exchange, result.text, result.reasoning, result.account)
        if failed:
            # What came is kept where it can be read, but the conversation goes on from before the question.
            conversation.go_back(exchange.leaf)
        await self._state.archive.save(conversation, [turn])
        if self._state.conversation is not conversation:
            return
        remark = ""
        if failed:
            remark = self._give_back(exchange)
        else:
            self._state.note(result.account)
        entry = entry_of(conversation, turn, result.failure, remark, read_rate=self._state.read_rate(turn.model))
        if self._entry is not None:
            self._entry.key, self._entry.make = entry.key, entry.make
        await exchange.widget.finish(
            result.account,
            result.failure,
            remark,
            branch=conversation.place(turn),
            read_rate=self._state.read_rate(turn.model),
        )
        if failed:
            await self._restore(exchange)

    async def _undo(self, result: Result, exchange: _Exchange) -> None:
        """Nothing came: as if it had not been asked, but for the error."""
        conversation = exchange.conversation
        conversation.go_back(exchange.leaf)
        if not exchange.is_retry:
            conversation.forget(conversation.branch(exchange.question.id))
            await self._state.archive.discard(conversation, [exchange.question.id])
        else:
            await self._state.archive.save(conversation)
        if self._state.conversation is not conversation:
            return
        if self._entry is not None:
            await self._transcript.drop(self._entry)
        if not exchange.is_retry:
            await self._transcript.drop_key(exchange.question.id)
        await self._restore(exchange)
        remark = self._give_back(exchange)
        if result.failure is not None:
            await self._transcript.add(Entry("", partial(Notice.of, result.failure, remark)))

    async def _restore(self, exchange: _Exchange) -> None:
        """Show again what another branch had taken off the screen."""
        if not exchange.is_retry and exchange.instead is None:
            return
        path = exchange.conversation.path()
        ids = [turn.id for turn in path]
        at = ids.index(exchange.common) + 1 if exchange.common in ids else 0
        for turn in path[at:]:
            await self._transcript.add(entry_of(exchange.conversation, turn))

    def _give_back(self, exchange: _Exchange) -> str:
        if exchange.is_retry:
            return ""
        rest = [exchange.question.text, *(draft.text for draft in self._state.queue)]
        self._state.queue.clear()
        if not self._prompt.text.strip():
            self._unanswered = exchange.question.text
        self._state.editing = exchange.instead
        self._prompt.give_back("\n\n".join(rest))
        return BACK


def _settings_of(body: JsonObject) -> dict[str, Any]:
    """What an answer was asked with, for the record."""
    named: dict[str, Any] = {name: body[name] for name in ("temperature", "seed") if name in body}
    system = next((str(message["content"]) for message in body["messages"] if message["role"] == "system"), "")
    extra = {"deterministic": True} if body["fireside"].get("deterministic") else {}
    return {**({"system": system} if system else {}), **named, **extra}
