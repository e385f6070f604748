"""The store: puts records, finds what is stored of a prompt, reads it checked. Nothing here fails an answer.

Every method may be called from any thread, but each may wait for the disk: threads that compute go through `Writer` and
`Reader`. What goes wrong is counted and ends as a miss; only `forget` says so, because its caller needs to know.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fireside_engine.core.blocks import Tokens, pack, unpack
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import catalog, outputs, scan, temporary
from fireside_engine.kv_cache.disk import Disk
from fireside_engine.kv_cache.found import Found, Piece, StateRef, find
from fireside_engine.kv_cache.index import Unavailable
from fireside_engine.kv_cache.record import Doubt, Header, Kind, Record, encode, header_of, outline
from fireside_engine.kv_cache.tier import Tier

STATES_KEPT = 4
"""Checkpoints of one conversation: its first, and those used last."""
_REMEMBERED_BAD = 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """Payloads, checked. Rows end before the first piece that could not be had."""

    rows: tuple[memoryview, ...] = ()
    states: tuple[memoryview | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    records: int = 0
    bytes: int = 0


class Store:
    def __init__(
        self,
        directory: Path,
        *,
        budget: int | None = None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """budget: bytes that records may take; None chooses. Nothing is touched before the first call."""
        self.tier = Tier(directory, budget=budget, disk=disk, clock=clock)
        self._bad: dict[tuple[Kind, bytes], None] = {}
        self._recalled: set[tuple[bytes, bytes]] = set()
        self._suspicious = False
        """A file was not where the index says, so others may be missing too."""
        self._lock = threading.Lock()

    # --- finding and reading

    def lookup(self, root: bytes, tokens: Tokens, *, states_alone: bool = False) -> Found:
        """What is stored of a prompt; index only. states_alone: a checkpoint is of use without rows before it."""
        if self.tier.reading.on:
            with self.tier.quietly(self.tier.reading), self.tier.index.reading() as db:
                return self._without_bad(find(db, root, pack(tokens), states_alone=states_alone))
        return Found(root)

    def read(self, found: Found, pieces: int | None = None, states: Sequence[StateRef] = ()) -> Fetched:
        """Payloads of the first `pieces` pieces (all, if None) and of these checkpoints."""
        rows: list[memoryview] = []
        for piece in found.pieces[:pieces]:
            payload = self.read_piece(found.root, piece)
            if payload is None:
                break
            rows.append(payload)
        return Fetched(tuple(rows), tuple(self.read_state(found.root, state) for state in states))

    def read_piece(self, root: bytes, piece: Piece) -> memoryview | None:
        """The payload of the whole block, of which the prompt may use only the first rows; None is a miss."""
        return self._read(Kind.ROWS, root, piece.parent, piece.start, piece.key, piece.ids, piece.n_prefilled)

    def read_state(self, root: bytes, state: StateRef) -> memoryview | None:
        """None is a miss."""
        return self._read(Kind.STATE, root, state.parent, state.start, state.key, state.ids, 0)

    def used(self, found: Found, n: int, owner: Owner) -> None:
        """A request of `owner` restored the first `n` tokens of what was found.

        From then on it owns the blocks that it used whole. One that goes on with other words than the request's stays
        with those who wrote them, so that it can be forgotten; what the request needs of it is in a block of its own
        when it is saved.
        """
        pieces = [piece for piece in found.pieces if piece.start < n]
        states = [state for state in found.states if state.position == n]
        touched = [(Kind.ROWS, piece.key) for piece in pieces] + [(Kind.STATE, state.key) for state in states]
        if not touched or not self.tier.writing.on:
            return
        whole = [piece.key for piece in pieces if piece.n_used == piece.n_stored and piece.end <= n]
        owned = [(Kind.ROWS, key) for key in whole[-1:]] + [(Kind.STATE, state.key) for state in states]
        with self.tier.quietly(self.tier.writing), self.tier.change() as db:
            catalog.touch(db, touched, catalog.tick(db), hit=True)
            who = catalog.make_owner(db, owner)
            for kind, key in owned:
                if (row := catalog.same(db, kind, key)) is not None:
                    catalog.add_use(db, who, row)

    # --- putting

    def put(self, records: Iterable[Record]) -> int:
        """Store what is not stored yet; how many files were written."""
        written = 0
        if self._suspicious and self.tier.writing.on:
            self._suspicious = False
            with self.tier.quietly(self.tier.writing):
                self.tier.sweep_strangers()
        for record in records:
            if not self.tier.writing.on:
                self.tier.count("dropped_off")
                continue
            with self.tier.quietly(self.tier.writing):
                written += self._put_again(record)
        return written

    def _put_again(self, record: Record) -> bool:
        try:
            return self._put(record)
        except Unavailable:
            # The index broke under this very call, and is there again when the next one asks.
            return self._put(record)
        except FileNotFoundError:
            # Somebody removed the directory.
            return self._put(record)

    def _put(self, record: Record) -> bool:
        header = outline(record)
        with self.tier.change() as db:
            if self._is_needless(db, header) or self._is_lost(db, header):
                return False
            if not self.tier.make_room(db, header.size, {header.key, header.parent}):
                return False
        header = header_of(record)
        path = self.tier.temporary.new()
        try:
            self.tier.disk.create(path, [encode(header), record.payload])
            with self.tier.change() as db:
                if self._is_needless(db, header):
                    self.tier.disk.remove(path)
                    return False
                self._publish(db, header, path)
        except Exception:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._bad.pop((record.kind, header.key), None)
        self.tier.count("written")
        return True

    def _is_needless(self, db: catalog.Db, header: Header) -> bool:
        """Whether what is stored serves as well; then the owner uses that."""
        row = catalog.same(db, header.kind, header.key)
        if row is not None and (row.n_prefilled < header.n_prefilled or (header.kind, header.key) in self._bad):
            return False
        row = row or catalog.covering(db, header)
        if row is None:
            return False
        self.tier.count("known")
        catalog.touch(db, [(row.kind, row.key)], catalog.tick(db), hit=False)
        catalog.add_use(db, catalog.make_owner(db, header.owner), row)
        return True

    def _is_lost(self, db: catalog.Db, header: Header) -> bool:
        """Whether the block before is missing, so that nobody would find these rows."""
        lost = (
            header.kind is Kind.ROWS
            and header.parent != header.root
            and catalog.same(db, Kind.ROWS, header.parent) is None
        )
        if lost:
            self.tier.count("lost")
        return lost

    def _publish(self, db: catalog.Db, header: Header, path: Path) -> None:
        target = self.tier.layout.file(header.kind, header.key)
        self.tier.disk.make_directory(target.parent)
        self.tier.disk.rename(path, target)
        catalog.add(db, header, catalog.tick(db))
        shorter = catalog.superseded(db, header)
        self.tier.count("superseded", len(shorter))
        catalog.inherit(db, header.kind, header.key, shorter)
        self.tier.drop(db, [*shorter, *catalog.spare_states(db, header, STATES_KEPT)])

    # --- answers as they were generated

    def remember(self, root: bytes, text_digest: bytes, tokens: Tokens, owner: Owner) -> None:
        """The tokens of an answer whose text would be cut into other ones."""
        if not self.tier.writing.on:
            return
        with self.tier.quietly(self.tier.writing), self.tier.change() as db:
            with self._lock:
                recalled, self._recalled = self._recalled, set()
            outputs.touch(db, recalled)
            outputs.remember(db, root, text_digest, pack(tokens), owner)

    def recall(self, root: bytes, text_digests: Sequence[bytes]) -> Mapping[bytes, tuple[int, ...]]:
        """Tokens by digest, of those answers that are remembered."""
        if not text_digests or not self.tier.reading.on:
            return {}
        with self.tier.quietly(self.tier.reading), self.tier.index.reading() as db:
            found = outputs.recall(db, root, text_digests)
            with self._lock:
                self._recalled.update((root, digest) for digest in found)
            return {digest: unpack(ids) for digest, ids in found.items()}
        return {}

    # --- forgetting

    def forget(self, owner: Owner) -> Removed:
        """Delete the records that only `owner` used, and its outputs. Raises OSError or Unavailable if it cannot."""
        # A file without a row may be of this owner too.
        self.tier.sweep_strangers()
        with self.tier.change() as db:
            who = catalog.owner_id(db, owner)
            if who is None:
                return Removed()
            alone = catalog.used_only_by(db, who)
            size = self.tier.drop(db, alone)
            for row, heir in catalog.to_be_renamed(db, who):
                self._rename_owner(row, heir)
            catalog.remove_owner(db, who)
        return Removed(len(alone), size)

    def _rename_owner(self, row: catalog.Row, heir: Owner) -> None:
        """Files say who wrote them; that must not bring back a name that was to be forgotten."""
        path = self.tier.layout.file(row.kind, row.key)
        with contextlib.suppress(Doubt, FileNotFoundError):
            header, _ = scan.read_header(self.tier.disk, path)
            self.tier.disk.overwrite(path, encode(header.owned_by(heir)))

    # --- its life

    def sweep(self) -> int:
        """Remove what dead processes left, compare files and index; bytes removed. Raises nothing."""
        removed = 0
        if self.tier.writing.on:
            with self.tier.quietly(self.tier.writing):
                removed += temporary.sweep(self.tier.layout.temporary, self.tier.disk)
                removed += self.tier.sweep_strangers()
        return removed

    def close(self) -> None:
        if any(self.tier.own_counts().values()) and self.tier.writing.on:
            with self.tier.quietly(self.tier.writing), self.tier.change():
                pass
        self.tier.close()

    # --- inside

    def _without_bad(self, found: Found) -> Found:
        if not self._bad:
            return found
        good = 0
        while good < len(found.pieces) and (Kind.ROWS, found.pieces[good].key) not in self._bad:
            good += 1
        pieces = found.pieces[:good]
        end = found.n if good == len(found.pieces) else pieces[-1].end if pieces else 0
        states = tuple(
            state
            for state in found.states
            if (Kind.STATE, state.key) not in self._bad and (state.position <= end or end == found.n)
        )
        return Found(found.root, pieces, states, found.divergence)

    def _read(
        self, kind: Kind, root: bytes, parent: bytes, start: int, key: bytes, ids: bytes, n_prefilled: int
    ) -> memoryview | None:
        if not self.tier.reading.on or (kind, key) in self._bad:
            return None
        with self.tier.quietly(self.tier.reading):
            try:
                header, payload = scan.read_record(self.tier.disk, self.tier.layout.file(kind, key))
                if (header.kind, header.root, header.parent, header.start, header.key, header.ids) != (
                    kind, root, parent, start, key, ids,
                ):  # fmt: skip
                    raise Doubt("the file holds another record")
            except FileNotFoundError:
                self._suspicious = True
                self._remove(kind, key, "missing")
            except Doubt:
                self._remove(kind, key, "removed_doubtful")
            except OSError as error:
                if error.errno not in scan.NO_FILE:
                    # Whether it is this file or the whole disk, it is not asked for again.
                    self._mark_bad(kind, key)
                    raise
                self._remove(kind, key, "removed_doubtful")
            else:
                # A block that was evicted and written anew may have fewer rows of a prompt than the index promised.
                return payload if header.n_prefilled >= n_prefilled else None
        return None

    def _remove(self, kind: Kind, key: bytes, why: str) -> None:
        self.tier.count(why)
        self._mark_bad(kind, key)
        if not self.tier.writing.on:
            return
        with self.tier.quietly(self.tier.writing), self.tier.change() as db:
            if (row := catalog.same(db, kind, key)) is not None:
                catalog.remove(db, [row])
            self.tier.disk.remove(self.tier.layout.file(kind, key))
            with self._lock:
                self._bad.pop((kind, key), None)

    def _mark_bad(self, kind: Kind, key: bytes) -> None:
        with self._lock:
            self._bad[kind, key] = None
            while len(self._bad) > _REMEMBERED_BAD:
                del self._bad[next(iter(self._bad))]
