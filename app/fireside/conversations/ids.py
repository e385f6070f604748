"""Names of conversations and turns: short enough to type, long enough that two programs never make the same."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter looks like another or like a digit."""
CONVERSATION_LENGTH = 10
TURN_LENGTH = 16


def new_conversation_id() -> str:
    return _draw(CONVERSATION_LENGTH)


def new_turn_id() -> str:
    return _draw(TURN_LENGTH)


def _draw(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
