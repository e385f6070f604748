"""Which tier answered which turn. Pure state, bounded; clients send whole conversations, so turns are known by them.

A turn is named by a keyed hash of everything before its answer: no text is kept, and the answer itself, which clients
may trim, does not matter.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fireside_engine.core.request import ChatPrompt, Message
from fireside_engine.core.routing.decision import Past

MOST = 4096
"""Turns that are remembered."""


@dataclass(frozen=True, slots=True)
class Turn:
    tier: int
    constrained: bool
    n_tokens: int
    """Prompt and answer, as its tier has them in KV."""


@dataclass(slots=True)
class TurnMemory:
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _turns: OrderedDict[bytes, Turn] = field(default_factory=OrderedDict)

    def add(self, tenant: str, identities: Sequence[str], prompt: ChatPrompt, turn: Turn) -> None:
        digest = list(self._digests(tenant, identities, prompt.messages))[-1]
        self._turns[digest] = turn
        self._turns.move_to_end(digest)
        while len(self._turns) > MOST:
            self._turns.popitem(last=False)

    def past(self, tenant: str, identities: Sequence[str], prompt: ChatPrompt) -> Past | None:
        """What is known of the conversation that this prompt goes on with."""
        found = self._known(tenant, identities, prompt)
        if not found:
            return None
        spoke = max((i for i, m in enumerate(prompt.messages) if m.role == "user"), default=-1)
        loop = [turn.tier for i, turn in found if i > spoke]
        latest = found[-1][1]
        return Past(latest.tier, max(loop) if loop else None, latest.constrained)

    def in_kv(self, tenant: str, identities: Sequence[str], prompt: ChatPrompt, tier: int) -> int:
        """Tokens of this conversation that a tier has computed at some time; 0 where nothing is known."""
        return max(
            (turn.n_tokens for _, turn in self._known(tenant, identities, prompt) if turn.tier == tier), default=0
        )

    def _known(self, tenant: str, identities: Sequence[str], prompt: ChatPrompt) -> list[tuple[int, Turn]]:
        """Turns of the assistant in this prompt, by the index of their message."""
        digests = list(self._digests(tenant, identities, prompt.messages))
        turns = ((i, self._turns.get(digests[i])) for i, m in enumerate(prompt.messages) if m.role == "assistant")
        return [(i, turn) for i, turn in turns if turn is not None]

    def _digests(self, tenant: str, identities: Sequence[str], messages: Sequence[Message]) -> Iterator[bytes]:
        """Of the first 0, 1, 2, ... messages. Answers count by their place and their calls only."""
        state = hashlib.blake2b(repr((tenant, tuple(identities))).encode("utf-8", "surrogatepass"), key=self._key)
        yield state.digest()
        for message in messages:
            said = "" if message.role == "assistant" else message.content
            calls = json.dumps([call.get("function") for call in message.tool_calls], sort_keys=True, default=str)
            state.update(repr((message.role, said, calls, message.name)).encode("utf-8", "surrogatepass"))
            yield state.digest()
