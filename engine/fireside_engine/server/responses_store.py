"""Responses that clients may go on from, in memory: the latest ones, and no more than fit a budget."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from fireside_engine import errors
from fireside_engine.core.request import Message

MOST = 512
BUDGET = 64 << 20
"""Characters of all kept conversations together."""


@dataclass(frozen=True, slots=True)
class Kept:
    messages: tuple[Message, ...]
    """The conversation up to and with the answer, instructions left out."""
    body: dict[str, Any]

    @property
    def size(self) -> int:
        return sum(len(turn.content) + len(turn.reasoning) + 256 for turn in self.messages)


class ResponsesStore:
    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._size = 0

    def keep(self, tenant: str, identity: str, kept: Kept) -> None:
        self._kept[tenant, identity] = kept
        self._size += kept.size
        while len(self._kept) > MOST or self._size > BUDGET:
            _, old = self._kept.popitem(last=False)
            self._size -= old.size

    def find(self, tenant: str, identity: str) -> Kept:
        """Of this tenant only. Raises InvalidRequest."""
        found = self._kept.get((tenant, identity))
        if found is None:
            raise errors.InvalidRequest(
                "previous_response_id: no such response is kept.",
                hint="They are kept in memory, the latest ones, unless `store` is false: send the conversation.",
                param="previous_response_id",
            )
        self._kept.move_to_end((tenant, identity))
        return found

    def forget(self, tenant: str, identity: str) -> bool:
        found = self._kept.pop((tenant, identity), None)
        self._size -= found.size if found is not None else 0
        return found is not None
