"""A conversation as a document: Markdown for people, JSON for programs. Pure.

Markdown has the path that is shown; JSON has every branch, so that nothing is lost in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fireside.conversations.tree import Conversation, Turn
from fireside.prompt import fence
from fireside.sanitize import clean_line
from fireside.wording import why

FORMAT = "fireside.conversation"
VERSION = 1


def to_markdown(conversation: Conversation) -> str:
    """Title, system prompt and the turns of the path, each under the name of who said it."""
    facts = [moment(conversation.created), conversation.id]
    parts = [f"# {clean_line(conversation.title) or 'Conversation'}", f"*{' · '.join(facts)}*"]
    if conversation.system:
        parts += ["## System", conversation.system]
    for turn in conversation.path():
        parts += _turn_in_markdown(turn)
    return "\n\n".join(parts).rstrip() + "\n"


def _turn_in_markdown(turn: Turn) -> list[str]:
    parts = [f"## {'You' if turn.role == 'user' else clean_line(turn.model) or 'Model'}"]
    for material in turn.materials:
        if material.name:
            parts.append(f"`{clean_line(material.name)}`:")
        parts.append(fence(material.text))
    if turn.reasoning:
        parts.append(f"<details><summary>Thinking</summary>\n\n{turn.reasoning.strip()}\n\n</details>")
    if turn.text:
        parts.append(turn.text.strip("\n"))
    if turn.account is not None:
        parts.append(f"*{' · '.join(why(turn.account))}*")
    elif turn.role == "assistant":
        parts.append("*broke off*")
    return parts


def to_json(conversation: Conversation) -> dict[str, Any]:
    """Every turn of every branch, and which of them are on the path that is shown."""
    path = {turn.id for turn in conversation.path()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": conversation.id,
        "title": conversation.title,
        "created": conversation.created,
        "system": conversation.system,
        "settings": conversation.settings,
        "leaf": conversation.leaf,
        "turns": [{**turn_to_json(turn), "shown": turn.id in path} for turn in conversation.turns.values()],
    }


def turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "id": turn.id,
        "parent": turn.parent,
        "role": turn.role,
        "text": turn.text,
        "reasoning": turn.reasoning,
        "materials": [{"name": material.name, "text": material.text} for material in turn.materials],
        "model": turn.model,
        "settings": turn.settings,
        "account": None if turn.account is None else turn.account.to_json(),
        "created": turn.created,
    }


def moment(seconds: float) -> str:
    """A time of the clock on the wall, e.g. 2026-11-23 14:02."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
