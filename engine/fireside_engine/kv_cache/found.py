"""What is stored of a prompt: blocks from position 0 on, checkpoints among them, and where the way parts."""

from __future__ import annotations

from dataclasses import dataclass

from fireside_engine.core.blocks import BLOCK, TOKEN_BYTES, common, packed_chain, unpack
from fireside_engine.kv_cache import catalog


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one stored block; the prompt may use only the first of them."""

    key: bytes
    parent: bytes
    start: int
    n_used: int
    n_prefilled: int
    """Of the rows stored, how many leading ones came from pieces of a prompt."""
    ids: bytes
    """Packed tokens of all rows stored."""
    size: int
    """Bytes of the file."""

    @property
    def n_stored(self) -> int:
        return len(self.ids) // TOKEN_BYTES

    @property
    def end(self) -> int:
        """Position after the last row that the prompt uses."""
        return self.start + self.n_used


@dataclass(frozen=True, slots=True)
class StateRef:
    """A checkpoint: what the model needs to go on at `position`."""

    position: int
    key: bytes
    parent: bytes
    start: int
    ids: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where the nearest stored text goes another way than the prompt."""

    position: int
    stored_token: int


@dataclass(frozen=True, slots=True)
class Found:
    """Pieces follow each other from position 0 on."""

    root: bytes
    pieces: tuple[Piece, ...] = ()
    states: tuple[StateRef, ...] = ()
    """On this prompt, ascending; none behind the last row."""
    divergence: Divergence | None = None

    @property
    def n(self) -> int:
        """Tokens that stored rows cover."""
        return self.pieces[-1].end if self.pieces else 0

    @property
    def prefilled(self) -> int:
        """Leading tokens whose rows came from pieces of a prompt."""
        count = 0
        for piece in self.pieces:
            count += min(piece.n_used, piece.n_prefilled)
            if piece.n_prefilled < piece.n_used:
                break
        return count

    @property
    def size(self) -> int:
        """Bytes to be read for all pieces."""
        return sum(piece.size for piece in self.pieces)


def find(db: catalog.Db, root: bytes, ids: bytes, *, states_alone: bool = False) -> Found:
    """What is stored of a prompt whose packed tokens are `ids`.

    states_alone: a checkpoint of this model is its whole memory, so it is of use without rows before it.
    """
    root_id = catalog.root_id(db, root)
    if root_id is None:
        return Found(root)
    keys = packed_chain(root, ids)
    pieces = _full(catalog.full_blocks(db, root_id, keys), keys, ids)
    parent = pieces[-1].key if pieces else root
    rest = ids[len(pieces) * BLOCK * TOKEN_BYTES :]
    last, divergence = _part(db, root_id, parent, len(pieces) * BLOCK, rest)
    if last is not None:
        pieces.append(last)
    n = pieces[-1].end if pieces else 0
    states = _states(db, root_id, [root, *keys], ids, len(ids) // TOKEN_BYTES if states_alone else n)
    return Found(root, tuple(pieces), states, divergence)


def _full(rows: dict[bytes, catalog.Row], keys: list[bytes], ids: bytes) -> list[Piece]:
    step = BLOCK * TOKEN_BYTES
    pieces: list[Piece] = []
    for number, key in enumerate(keys):
        row = rows.get(key)
        if row is None or row.ids != ids[number * step : (number + 1) * step] or row.start != number * BLOCK:
            break
        pieces.append(_piece(row, BLOCK))
    return pieces


def _part(db: catalog.Db, root: int, parent: bytes, start: int, rest: bytes) -> tuple[Piece | None, Divergence | None]:
    """The stored block that shares most with the rest of the prompt, and where it leaves it."""
    if not rest:
        return None, None
    best: catalog.Row | None = None
    most, most_prefilled = 0, -1
    for row in catalog.children(db, root, parent, rest[:TOKEN_BYTES]):
        shared = common(row.ids, rest)
        if shared > most or (shared == most and min(row.n_prefilled, shared) > most_prefilled):
            best, most, most_prefilled = row, shared, min(row.n_prefilled, shared)
    nearest = best or catalog.last_child(db, root, parent)
    if nearest is None:
        return None, None
    divergence = None
    if most < min(nearest.n, len(rest) // TOKEN_BYTES):
        divergence = Divergence(start + most, unpack(nearest.ids)[most])
    return (_piece(best, most) if best is not None and best.start == start else None), divergence


def _states(db: catalog.Db, root: int, parents: list[bytes], ids: bytes, limit: int) -> tuple[StateRef, ...]:
    starts = {parent: number * BLOCK for number, parent in enumerate(parents)}
    found = [
        StateRef(row.position, row.key, row.parent, row.start, row.ids, row.size)
        for row in catalog.states_after(db, root, parents)
        if row.start == starts[row.parent]
        and row.position <= limit
        and ids.startswith(row.ids, row.start * TOKEN_BYTES)
    ]
    return tuple(sorted(found, key=lambda state: state.position))


def _piece(row: catalog.Row, n_used: int) -> Piece:
    return Piece(row.key, row.parent, row.start, n_used, row.n_prefilled, row.ids, row.size)
