"""What agents put in front of a prompt and change with every request: it says nothing to a model, and the KV cache
lives of beginnings that stay the same. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fireside_engine.core.request import Message

BILLING = "x-anthropic-billing-header"
"""The first line of one agent's instructions, in every dialect that it and its proxies speak (llama.cpp#20623)."""


def steady(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns without it."""
    return tuple(
        replace(message, content=steady_text(message.content)) if _moves(message) else message for message in messages
    )


def steady_text(text: str) -> str:
    """Instructions without such lines in front."""
    while text.startswith(BILLING):
        text = text.partition("\n")[2].lstrip("\n")
    return text


def _moves(message: Message) -> bool:
    return message.role == "system" and message.content.startswith(BILLING)
