"""The user's own prompts, from saved chats. Read only when asked for, and never sent anywhere but to the engine."""

from __future__ import annotations

from collections.abc import Iterable

from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.proving.items import Item
from fireside.proving.kinds import kind_of

MOST_CONVERSATIONS = 500
MOST_CHARS = 12_000
"""Of a whole prompt: longer ones would take most of the time of a run."""


def saved_items(store: Store) -> list[Item]:
    """The questions of the newest conversations, each with what came before it. Raises StoreFailure."""
    found: dict[str, Item] = {}
    for summary in store.summaries(MOST_CONVERSATIONS):
        for item in items_of(store.load(summary.id)):
            found.setdefault(_sameness(item), item)
    return list(found.values())


def items_of(conversation: Conversation) -> Iterable[Item]:
    """Every question of a conversation, on all its branches, that is short enough. Pure."""
    system = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for turn in conversation.turns.values():
        if turn.role != "user" or not turn.content.strip():
            continue
        path = [{"role": before.role, "content": before.content} for before in conversation.path(turn.id)]
        messages = (*system, *path)
        if sum(len(str(message["content"])) for message in messages) <= MOST_CHARS:
            yield Item(f"chat:{turn.id}", kind_of(turn.content), messages)


def _sameness(item: Item) -> str:
    """Prompts that were asked again are one."""
    return "\0".join(" ".join(str(message["content"]).split()) for message in item.messages)
