"""Histories that are looked up: a conversation as it grows, and earlier answers of a tenant. Bounded memory.

Until the kernels are compiled nothing is looked up, which costs speed and nothing else; what was missed is indexed
then.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from types import ModuleType

import numpy as np

from fireside_engine.core.speculation.matching import F64, I32, MAX_DRAFT, ORDERS
from fireside_engine.errors import InternalError

STORE_TOKENS = 1 << 16
"""Of one half of a store: two halves with their indexes are 4 MiB."""
STORES = 8
"""Scopes that keep one; of more, the one used least recently is forgotten."""
LEAD = 16
"""Tokens of the prompt's end that are kept with an answer, so that it is found from its first token on."""
_END = -1
"""Between two answers; no token."""

_lock = threading.Lock()
_kernels: ModuleType | None = None


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache. Any thread may call it.

    Raises InternalError when they do not draft as specified, as a stale cache could make them.
    """
    global _kernels
    with _lock:
        if _kernels is not None:
            return
        from fireside_engine.core.speculation import kernels, matching

        if _sample(kernels) != _sample(matching):
            raise InternalError(
                "The compiled lookup does not draft as specified.",
                hint="Delete numba's cache (NUMBA_CACHE_DIR) and start again; until then nothing is looked up.",
            )
        _kernels = kernels


def compiled() -> bool:
    return _kernels is not None


def _sample(module: ModuleType) -> tuple[object, ...]:
    tokens = (np.arange(300) ** 2 % 37 % 11).astype(np.int32)
    index = Index(300)
    module.push(tokens, 0, 300, index.heads, index.links)
    table, found = np.linspace(0.5, 0.95, 24), Found()
    got = module.draft(
        tokens, 300, tokens, 300, index.heads, index.links, 7, True, table, 1.0, MAX_DRAFT,
        found.tokens, found.p, found.cells,
    )  # fmt: skip
    n = got[0]
    return got, found.tokens[:n].tolist(), found.p[:n].round(12).tolist(), found.cells[:n].tolist()


class Found:
    """Room for a draft; used again and again."""

    __slots__ = ("cells", "p", "tokens")

    def __init__(self) -> None:
        self.tokens = np.zeros(MAX_DRAFT, np.int32)
        self.p = np.zeros(MAX_DRAFT)
        self.cells = np.zeros(MAX_DRAFT, np.int32)


class Index:
    """Hash chains over `capacity` tokens."""

    __slots__ = ("done", "heads", "links")

    def __init__(self, capacity: int) -> None:
        buckets = 1 << max(8, (2 * capacity - 1).bit_length())
        self.heads = np.zeros((ORDERS, buckets), np.int32)
        self.links = np.zeros((ORDERS, capacity + 1), np.int32)
        self.done = 0
        """Tokens indexed so far."""

    @property
    def nbytes(self) -> int:
        return self.heads.nbytes + self.links.nbytes

    def reset(self) -> None:
        """Forget all; links are only followed from heads."""
        self.heads[:] = 0
        self.done = 0

    def push(self, tokens: I32, n: int) -> None:
        """Index tokens[:n], as far as they are not yet."""
        if n > self.done and _kernels is not None:
            _kernels.push(tokens, self.done, n, self.heads, self.links)
            self.done = n


class Trace:
    """Lookups of one text in one index: where the copy that it seems to follow goes on."""

    __slots__ = ("_index", "_loops", "_pointer", "found")

    def __init__(self, index: Index, *, loops: bool) -> None:
        self._index = index
        self._loops = loops
        self._pointer = 0
        self.found = Found()

    def step(self, tokens: I32, n: int, token: int) -> None:
        """The text went on with `token`; `tokens[:n]` are those of the index."""
        if self._pointer:
            here = self._pointer < n and tokens[self._pointer] == token
            self._pointer = self._pointer + 1 if here else 0

    def draft(
        self, tail: I32, m: int, tokens: I32, n: int, table: F64, discount: float, limit: int
    ) -> tuple[int, float]:
        """Fill `found` with what probably follows tail[:m]; returns length and expected number of accepted tokens."""
        if _kernels is None or limit <= 0 or n == 0:
            return 0, 0.0
        index, found = self._index, self.found
        length, score, self._pointer = _kernels.draft(
            tail, m, tokens, n, index.heads, index.links, self._pointer, self._loops, table, discount,
            min(limit, MAX_DRAFT), found.tokens, found.p, found.cells,
        )  # fmt: skip
        return length, score


class Store:
    """The latest answers of one scope, in two halves: when one is full, the older one is emptied."""

    def __init__(self, capacity: int = STORE_TOKENS) -> None:
        self.capacity = capacity
        self.halves = [_Half(capacity)]

    @classmethod
    def of(cls, prompt: I32, answer: I32) -> Store:
        """Of this answer alone."""
        store = cls(LEAD + len(answer) + 4)
        store.add(prompt, answer)
        return store

    def add(self, prompt: I32, answer: I32) -> None:
        """Keep an answer, with the end of its prompt before it."""
        room = self.capacity - 2 - LEAD
        entry = np.concatenate((prompt[-LEAD:], answer[:room], np.array([_END], np.int32))).astype(np.int32)
        if self.halves[0].n + entry.size > self.capacity:
            self.halves = [_Half(self.capacity), self.halves[0]]
        self.halves[0].append(entry)

    @property
    def nbytes(self) -> int:
        return sum(half.index.nbytes + half.tokens.nbytes for half in self.halves)


class _Half:
    def __init__(self, capacity: int) -> None:
        self.tokens = np.zeros(capacity, np.int32)
        self.index = Index(capacity)
        self.n = 0

    def append(self, entry: I32) -> None:
        self.tokens[self.n : self.n + entry.size] = entry
        self.n += entry.size
        self.index.push(self.tokens, self.n)


class Stores:
    """One store for each scope: tenants never see each other's answers, not even in how fast theirs come."""

    def __init__(self) -> None:
        self._stores: OrderedDict[bytes, Store] = OrderedDict()

    def of(self, scope: bytes) -> Store:
        store = self._stores.pop(scope, None) or Store()
        self._stores[scope] = store
        while len(self._stores) > STORES:
            self._stores.popitem(last=False)
        return store

    def forget(self, scope: bytes | None = None) -> None:
        """What was said is to be forgotten: of one scope, or of all."""
        if scope is None:
            self._stores.clear()
        else:
            self._stores.pop(scope, None)
