"""Conversations as the text of a file: Markdown, JSON or HTML."""

from __future__ import annotations

from collections.abc import Sequence

from fireside.conversations.export import to_json, to_markdown
from fireside.conversations.tree import Conversation
from fireside.sanitize import clean
from fireside.terminal import to_json_text

KINDS = ("md", "json", "html")


def kind_of(path: str) -> str:
    """By the ending of a file's name; Markdown where it says nothing."""
    ending = path.lower().rpartition(".")[2]
    return {"json": "json", "html": "html", "htm": "html"}.get(ending, "md")


def document(conversations: Sequence[Conversation], kind: str) -> str:
    if kind == "html":
        from fireside.conversations.web import to_html

        return to_html(conversations)
    if kind == "json":
        data = [to_json(conversation) for conversation in conversations]
        return to_json_text(data[0] if len(data) == 1 else data)
    # Whoever prints the file later must not have a terminal that obeys a model.
    return clean("\n---\n\n".join(map(to_markdown, conversations)))
