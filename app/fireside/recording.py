"""Questions of the command line as part of a conversation: what was said before, and saving what came of them.

A question that nothing came of is not saved. What came of an answer that broke off was seen, so it is part of what was
said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fireside.account import Ending
from fireside.answer import Answer
from fireside.conversations.database import StoreFailure
from fireside.conversations.tree import Conversation
from fireside.models import ModelChoice
from fireside.prompt import Material
from fireside.terminal import Narrator
from fireside.wire import JsonObject


def drafting(draft: str) -> JsonObject:
    """Members of a request's `fireside` for what `--draft` says. Off needs no other load of the model."""
    return {"speculate": False} if draft == "off" else {"draft": draft} if draft else {}


class Recording:
    """Opens the database only where it is needed: to continue, and to save."""

    def __init__(self, word: str | None = None, *, save: bool = True) -> None:
        """`word` names a conversation that goes on, or `last`. Raises UnknownConversation, StoreFailure."""
        self.saves = save
        self.draft = ""
        """The model that drafts, auto or off; empty leaves it to the engine."""
        if word is None:
            self.conversation = Conversation()
            return
        from fireside.conversations.store import Store

        store = Store()
        try:
            self.conversation = store.load(store.resolve(word))
        finally:
            store.close()
        last = self.conversation.last
        if last is not None and last.role == "user":
            # Its answer never came; the new question takes its place.
            self.conversation.go_back(last.parent)

    def anew(self) -> Recording:
        """For a new conversation with the same system prompt."""
        recording = Recording(save=self.saves)
        recording.draft = self.draft
        recording.conversation.system = self.conversation.system
        return recording

    def choice(self, word: str | None) -> ModelChoice:
        """The model that the user named, else the one that the conversation was had with. Raises Failure."""
        last = self.conversation.last_answer()
        known = str(self.conversation.settings.get("model") or (last.model if last else ""))
        choice = ModelChoice(word if word is not None else known or None)
        if word is not None or "model" in self.conversation.settings:
            # The name that an engine gave to a file lives as long as that engine.
            self.conversation.settings["model"] = choice.lasting_name
        return choice

    def extension(self) -> JsonObject:
        """Members of a request's `fireside` by which the engine keeps the conversation's KV."""
        return {"conversation": self.conversation.id, "save": self.saves, **drafting(self.draft)}

    def messages(self, question: str, materials: Sequence[Material], system: str | None) -> list[JsonObject]:
        """Put the question to the conversation; gives what the model reads."""
        if system is not None:
            self.conversation.system = system
        self.conversation.ask(question, materials)
        return self.conversation.messages()

    def keep(self, answer: Answer, ending: Ending, asked: str, settings: dict[str, Any], narrator: Narrator) -> None:
        """Save question and answer, unless nothing came or nothing is to be saved. Tells when it cannot be done."""
        conversation, question = self.conversation, self.conversation.last
        if answer.is_empty and ending != "stop" and question is not None:
            conversation.go_back(question.parent)
            conversation.forget([question.id])
            return
        account = answer.account(ending, asked)
        if conversation.system:
            settings = {"system": conversation.system, **settings}
        turn = conversation.answer(
            answer.text, reasoning=answer.reasoning, model=account.model, settings=settings, account=account
        )
        if not self.saves:
            return
        from fireside.conversations.store import Store

        try:
            store = Store()
            try:
                store.save(conversation, [turn])
            finally:
                store.close()
        except StoreFailure as failure:
            narrator.say(f"fireside: not saved. {failure.message} {failure.hint}".rstrip())
