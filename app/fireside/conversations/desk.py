"""What lies beside the conversations: unsent text of each, and what the app remembers of itself.

Functions of a `Store`, each one short transaction. They raise StoreFailure.
"""

from __future__ import annotations

import time

from fireside.conversations.store import Store

NEW_CHAT = ""
"""The draft of a chat that has no question yet."""
WELCOMED = "welcomed"
"""The first-run screen was answered."""


def keep_draft(store: Store, conversation: str, text: str) -> None:
    """Keep what is being written in a conversation; nothing written, nothing kept."""
    with store.database.transaction() as connection:
        if text.strip():
            connection.execute(
                "INSERT INTO drafts (conversation, text, updated) VALUES (?, ?, ?) ON CONFLICT (conversation) "
                "DO UPDATE SET text = excluded.text, updated = excluded.updated",
                (conversation, text.encode("utf-8", "replace").decode("utf-8"), time.time()),
            )
        else:
            connection.execute("DELETE FROM drafts WHERE conversation = ?", (conversation,))


def draft_of(store: Store, conversation: str) -> str:
    """What was being written there, or ""."""
    rows = store.database.rows("SELECT text FROM drafts WHERE conversation = ?", (conversation,))
    return str(rows[0]["text"]) if rows else ""


def remember(store: Store, name: str, value: str) -> None:
    with store.database.transaction() as connection:
        connection.execute(
            "INSERT INTO notes (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )


def remembered(store: Store, name: str) -> str:
    rows = store.database.rows("SELECT value FROM notes WHERE name = ?", (name,))
    return str(rows[0]["value"]) if rows else ""
