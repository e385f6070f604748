"""A slot: one sequence of the llama.cpp context, and what its KV holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fireside_engine.core.owner import Owner
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Tokens


def common(first: Tokens, second: Tokens) -> int:
    """Number of leading tokens that both have."""
    n = min(len(first), len(second))
    different = np.nonzero(first[:n] != second[:n])[0]
    return int(different[0]) if len(different) else n


@dataclass(slots=True, eq=False)
class Slot:
    """KV of positions 0..n-1 belongs to `tokens[:n]`. It stays after a sequence ends, for the next with that prefix."""

    id: int
    capacity: int
    n: int = 0
    prefilled: int = 0
    """The first tokens of KV that came from a prompt, in pieces cut as every prompt is cut."""
    sequence: Sequence | None = None
    used: int = 0
    """Counter of the last use, for least-recently-used order."""
    scope: bytes = b""
    """Whose KV this is: only sequences of the same scope may use it."""
    owner: Owner | None = None
    """The conversation that KV is saved for; None: it is not saved."""
    saved: int = 0
    """The first tokens of KV that were handed over to be saved."""
    state: int = 0
    """Position of the latest checkpoint."""
    retry: int = 0
    """Nothing is saved before KV is this long: the last attempt was turned down."""
    floor: int = 0
    """KV cannot be cut to less than this: what came back from a checkpoint has no past."""
    settle_to: int = 0
    """Tokens up to here are to be computed again while nothing else is to do (core.settling)."""
    tokens: Tokens = field(init=False)
    """(capacity + 1,): one more than KV, for the token drawn last, which is not computed yet."""

    def __post_init__(self) -> None:
        self.tokens = np.zeros(self.capacity + 1, dtype=np.int32)

    def common(self, prompt: Tokens) -> int:
        """Number of leading tokens that KV and `prompt` share."""
        return common(self.tokens[: self.n], prompt)

    def forget(self) -> None:
        self.n = self.prefilled = self.saved = self.state = self.retry = self.floor = self.settle_to = 0

    def cut(self, length: int) -> None:
        """KV from `length` on is gone."""
        self.n = min(self.n, length)
        self.prefilled = min(self.prefilled, length)
        self.saved = min(self.saved, length)
        self.state = min(self.state, length)
