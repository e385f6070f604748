"""Questions and answers: asks, queues, stops, retries, and puts what came of it into conversation and transcript.

Nothing that was written is lost: a question that got no answer goes back to the prompt, and text that came before an
error or a stop stays on the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual.widget import Widget

from fireside.thinking import Piece
from fireside.tui.generation import Generation, Result
from fireside.tui.state import ChatState
from fireside.tui.transcript import Conversation
from fireside.tui.widgets.message import AnswerMessage, Notice, UserMessage
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.transcript_view import Entry, TranscriptView
from fireside.wire import JsonObject

BACK = "Your message is back in the prompt."


@dataclass(slots=True)
class _Exchange:
    """A question that is being answered, and what to restore if it is not."""

    question: str
    leaf: int | None
    """Of the conversation before it."""
    conversation: Conversation
    generation: Generation
    widget: AnswerMessage
    body: JsonObject
    model: str
    replaced: Callable[[], Widget] | None = None
    """Makes the answer that a retry replaces."""
    asked: Entry | None = None
    """The question's message; None for a retry, whose question stays."""


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
        self._answer: Entry | None = None
        """The last answer's message."""
        self._unanswered = ""
        """A question that went back to the prompt."""

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way, or its end is being put in order."""
        return self._active

    @property
    def shown_text(self) -> str:
        """The last answer, or what has come of it."""
        widget = self._answer.widget if self._answer else None
        return widget.source if isinstance(widget, AnswerMessage) else ""

    async def ask(self, text: str) -> None:
        """Send a message and show its answer, then those of the messages that were queued meanwhile."""
        if self.is_busy:
            self._state.queue.append(text)
            self._changed()
            return
        self._active = True
        try:
            await self._ask(text)
            while self._state.queue:
                await self._ask(self._state.queue.pop(0))
        finally:
            self._active = False
            self._changed()

    async def retry(self) -> bool:
        """Answer the last question again, with a new seed. False if there is none, or an answer is being written."""
        conversation = self._state.conversation
        if self._unanswered and self._prompt.text.strip() == self._unanswered:
            self._prompt.action_send()
            return True
        leaf = conversation.leaf
        if self.is_busy or (question := conversation.retry()) is None:
            return False
        self._active = True
        try:
            replaced, self._answer = self._answer, None
            exchange = self._begin(question.text, leaf, new_seed=True, replaced=replaced.make if replaced else None)
            if replaced is not None:
                await self._transcript.drop(replaced)
            await self._run(exchange)
        finally:
            self._active = False
            self._changed()
        return True

    def stop(self) -> bool:
        """Stop the present answer; queued messages go back to the prompt. False if there is nothing to stop."""
        if (generation := self._state.generation) is None:
            return False
        if self._state.queue:
            self._prompt.give_back("\n\n".join(self._state.queue))
            self._state.queue.clear()
        generation.stop()
        return True

    def forget(self) -> None:
        """A new conversation has begun."""
        self._answer, self._unanswered = None, ""

    async def _ask(self, text: str) -> None:
        leaf = self._state.conversation.leaf
        self._state.conversation.ask(text)
        exchange = self._begin(text, leaf)
        exchange.asked = await self._transcript.add(UserMessage(text), partial(UserMessage, text))
        await self._run(exchange)

    def _begin(
        self, question: str, leaf: int | None, *, new_seed: bool = False, replaced: Callable[[], Widget] | None = None
    ) -> _Exchange:
        """Everything that must be settled before the first wait, after which keys may change it."""
        state = self._state
        self._unanswered = ""
        widget = AnswerMessage()
        state.generation = Generation(state.engine, widget)
        body = state.settings.body(state.conversation.messages(), new_seed=new_seed)
        return _Exchange(question, leaf, state.conversation, state.generation, widget, body, state.model, replaced)

    async def _run(self, exchange: _Exchange) -> None:
        self._transcript.follow_end()
        self._answer = await self._transcript.add(exchange.widget, AnswerMessage)
        self._changed()
        try:
            result = await exchange.generation.run(exchange.body, exchange.model)
        finally:
            self._state.generation = None
        if self._state.conversation is exchange.conversation:
            await self._keep(result, exchange)
        else:
            # A new chat began meanwhile, perhaps before these were on the screen.
            await self._drop(exchange)
        self._changed()

    async def _keep(self, result: Result, exchange: _Exchange) -> None:
        conversation, failed = exchange.conversation, result.failure is not None
        if result.is_empty and result.account.ending in ("failed", "stopped"):
            await self._undo(result, exchange)
            return
        remark = ""
        conversation.answer(result.text, reasoning=result.reasoning, account=result.account)
        if failed:
            # What came is kept where it can be read, but the conversation goes on from before the question.
            conversation.go_back(exchange.leaf)
            remark = self._give_back(exchange)
        else:
            self._state.last = result.account
        pieces = [Piece("thinking", result.reasoning), Piece("answer", result.text)]
        shown = [piece for piece in pieces if piece.text]
        if self._answer is not None:
            self._answer.make = partial(AnswerMessage.of, shown, result.account, result.failure, remark)
        await exchange.widget.finish(result.account, result.failure, remark)
        if failed:
            await self._restore(exchange)

    async def _undo(self, result: Result, exchange: _Exchange) -> None:
        """Nothing came: as if it had not been asked, but for the error."""
        exchange.conversation.go_back(exchange.leaf)
        await self._drop(exchange)
        await self._restore(exchange)
        remark = self._give_back(exchange)
        if result.failure is not None:
            make = partial(Notice.of, result.failure, remark)
            await self._transcript.add(make(), make)

    async def _drop(self, exchange: _Exchange) -> None:
        answer, self._answer = self._answer, None
        for entry in (answer, exchange.asked):
            if entry is not None:
                await self._transcript.drop(entry)

    async def _restore(self, exchange: _Exchange) -> None:
        """Show the answer again that a retry was to replace."""
        if exchange.replaced is not None:
            self._answer = await self._transcript.add(exchange.replaced(), exchange.replaced)

    def _give_back(self, exchange: _Exchange) -> str:
        if exchange.replaced is not None:
            return ""
        rest = [exchange.question, *self._state.queue]
        self._state.queue.clear()
        if not self._prompt.text.strip():
            self._unanswered = exchange.question
        self._prompt.give_back("\n\n".join(rest))
        return BACK
