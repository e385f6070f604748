"""A slot: one sequence of the llama.cpp context, and what its KV holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Tokens


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
    tokens: Tokens = field(init=False)
    """(capacity + 1,): one more than KV, for the token drawn last, which is not computed yet."""

    def __post_init__(self) -> None:
        self.tokens = np.zeros(self.capacity + 1, dtype=np.int32)

    def common(self, prompt: Tokens) -> int:
        """Number of leading tokens that KV and `prompt` share."""
        n = min(self.n, len(prompt))
        different = np.nonzero(self.tokens[:n] != prompt[:n])[0]
        return int(different[0]) if len(different) else n

    def forget(self) -> None:
        self.n = self.prefilled = 0
