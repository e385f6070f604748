"""The statements of the index: each function is one question or one change inside a transaction that the caller holds.

Records hang on their parents by name. `used` is a counter that each use raises, not a clock; `used_at` is for people.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fireside_engine.core.blocks import BLOCK, TOKEN_BYTES
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache.record import Header, Kind

SCHEMA_VERSION = 1

SCHEMA = f"""
CREATE TABLE roots (id INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, label TEXT NOT NULL);
CREATE TABLE owners (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, conversation TEXT NOT NULL,
                     UNIQUE (tenant, conversation));
CREATE TABLE records (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, key BLOB NOT NULL, root INTEGER NOT NULL,
                      parent BLOB NOT NULL, start INTEGER NOT NULL, bytes INTEGER NOT NULL,
                      n_prefilled INTEGER NOT NULL, used INTEGER NOT NULL, used_at INTEGER NOT NULL,
                      hits INTEGER NOT NULL DEFAULT 0, writer INTEGER NOT NULL, tokens BLOB NOT NULL,
                      UNIQUE (key, kind));
CREATE INDEX records_by_parent ON records (parent, kind);
CREATE INDEX records_by_use ON records (used);
CREATE TABLE uses (owner INTEGER NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (owner, record)) WITHOUT ROWID;
CREATE INDEX uses_by_record ON uses (record);
CREATE TABLE outputs (root INTEGER NOT NULL, digest BLOB NOT NULL, owner INTEGER NOT NULL, used INTEGER NOT NULL,
                      tokens BLOB NOT NULL, PRIMARY KEY (root, digest, owner)) WITHOUT ROWID;
CREATE INDEX outputs_by_use ON outputs (used);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER records_added AFTER INSERT ON records BEGIN
  UPDATE meta SET value = value + new.bytes WHERE name = 'bytes'; END;
CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN
  UPDATE meta SET value = value - old.bytes WHERE name = 'bytes';
  DELETE FROM uses WHERE record = old.id; END;
CREATE TRIGGER records_changed AFTER UPDATE OF bytes ON records BEGIN
  UPDATE meta SET value = value + new.bytes - old.bytes WHERE name = 'bytes'; END;
INSERT INTO meta VALUES ('bytes', 0), ('clock', 0), ('schema', {SCHEMA_VERSION});
"""

Db = sqlite3.Connection


@dataclass(frozen=True, slots=True)
class Row:
    """A record as the index knows it."""

    id: int
    kind: Kind
    key: bytes
    parent: bytes
    start: int
    size: int
    """Bytes of the file."""
    n_prefilled: int
    ids: bytes

    @property
    def n(self) -> int:
        return len(self.ids) // TOKEN_BYTES

    @property
    def position(self) -> int:
        return self.start + self.n


_COLUMNS = "r.id, r.kind, r.key, r.parent, r.start, r.bytes, r.n_prefilled, r.tokens"
_MANY = 200
"""Values in one IN (…)."""


def _row(values: Sequence[Any]) -> Row:
    return Row(values[0], Kind(values[1]), *values[2:])


def _select(db: Db, where: str, parameters: Sequence[Any]) -> list[Row]:
    return [_row(values) for values in db.execute(f"SELECT {_COLUMNS} FROM records r WHERE {where}", parameters)]


def tick(db: Db) -> int:
    """The next count of the clock."""
    return int(db.execute("UPDATE meta SET value = value + 1 WHERE name = 'clock' RETURNING value").fetchone()[0])


def held(db: Db) -> int:
    """Bytes of all records."""
    return int(db.execute("SELECT value FROM meta WHERE name = 'bytes'").fetchone()[0])


def add_counts(db: Db, counts: Iterable[tuple[str, int]]) -> None:
    statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
    db.executemany(statement, ((f"count {name}", value) for name, value in counts))


def counts(db: Db) -> dict[str, int]:
    rows = db.execute("SELECT name, value FROM meta WHERE name LIKE 'count %'")
    return {name.removeprefix("count "): value for name, value in rows}


# --- names


def root_id(db: Db, root: bytes) -> int | None:
    found = db.execute("SELECT id FROM roots WHERE root = ?", (root,)).fetchone()
    return int(found[0]) if found else None


def make_root(db: Db, root: bytes, label: str) -> int:
    statement = """INSERT INTO roots (root, label) VALUES (?, ?)
                   ON CONFLICT (root) DO UPDATE SET label = CASE excluded.label WHEN '' THEN label ELSE excluded.label
                   END RETURNING id"""
    return int(db.execute(statement, (root, label)).fetchone()[0])


def owner_id(db: Db, owner: Owner) -> int | None:
    statement = "SELECT id FROM owners WHERE tenant = ? AND conversation = ?"
    found = db.execute(statement, (owner.tenant, owner.conversation)).fetchone()
    return int(found[0]) if found else None


def make_owner(db: Db, owner: Owner) -> int:
    statement = """INSERT INTO owners (tenant, conversation) VALUES (?, ?)
                   ON CONFLICT (tenant, conversation) DO UPDATE SET tenant = tenant RETURNING id"""
    return int(db.execute(statement, (owner.tenant, owner.conversation)).fetchone()[0])


# --- finding


def full_blocks(db: Db, root: int, keys: Sequence[bytes]) -> dict[bytes, Row]:
    """Rows of full blocks by name, up to the first run of names that has a gap."""
    found: dict[bytes, Row] = {}
    for at in range(0, len(keys), _MANY):
        part = keys[at : at + _MANY]
        marks = ",".join("?" * len(part))
        rows = _select(db, f"r.kind = {Kind.ROWS} AND r.root = ? AND r.key IN ({marks})", (root, *part))
        found.update((row.key, row) for row in rows)
        if len(rows) < len(part):
            break
    return found


def children(db: Db, root: int, parent: bytes, first_token: bytes) -> list[Row]:
    """Blocks after `parent` that begin with a token, the last used first."""
    where = f"r.kind = {Kind.ROWS} AND r.root = ? AND r.parent = ? AND substr(r.tokens, 1, {TOKEN_BYTES}) = ?"
    return _select(db, f"{where} ORDER BY r.used DESC LIMIT 512", (root, parent, first_token))


def last_child(db: Db, root: int, parent: bytes) -> Row | None:
    """The block after `parent` that was used last."""
    where = f"r.kind = {Kind.ROWS} AND r.root = ? AND r.parent = ? ORDER BY r.used DESC LIMIT 1"
    return next(iter(_select(db, where, (root, parent))), None)


def states_after(db: Db, root: int, parents: Sequence[bytes]) -> list[Row]:
    """Checkpoints inside the blocks that follow these."""
    found: list[Row] = []
    for at in range(0, len(parents), _MANY):
        part = parents[at : at + _MANY]
        marks = ",".join("?" * len(part))
        found += _select(db, f"r.kind = {Kind.STATE} AND r.root = ? AND r.parent IN ({marks})", (root, *part))
    return found


def same(db: Db, kind: Kind, key: bytes) -> Row | None:
    return next(iter(_select(db, "r.key = ? AND r.kind = ?", (key, kind))), None)


def page(db: Db, after: int, count: int) -> list[Row]:
    """Records by id, for walks over all of them."""
    return _select(db, "r.id > ? ORDER BY r.id LIMIT ?", (after, count))


def ancestors(db: Db, parent: bytes) -> list[Row]:
    """Blocks up to the root, from `parent` on, as far as they are stored."""
    statement = f"""WITH RECURSIVE path (id, kind, key, parent, start, bytes, n_prefilled, tokens) AS (
        SELECT {_COLUMNS} FROM records r WHERE r.key = ? AND r.kind = {Kind.ROWS}
        UNION ALL
        SELECT {_COLUMNS} FROM records r JOIN path p ON r.key = p.parent AND r.kind = {Kind.ROWS})
        SELECT * FROM path"""
    return [_row(values) for values in db.execute(statement, (parent,))]


# --- who uses what


def users(db: Db, record: int) -> set[int]:
    return {owner for (owner,) in db.execute("SELECT owner FROM uses WHERE record = ?", (record,))}


def add_use(db: Db, owner: int, row: Row) -> None:
    """`owner` uses this record, and with it every block before it."""
    if not _add_use(db, owner, row.id):
        return
    parent = row.parent
    while above := same(db, Kind.ROWS, parent):
        if not _add_use(db, owner, above.id):
            # Whoever uses a block uses those before it, so the rest of the way is known.
            return
        parent = above.parent


def _add_use(db: Db, owner: int, record: int) -> bool:
    return db.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (owner, record)).rowcount > 0


def used_only_by(db: Db, owner: int) -> list[Row]:
    where = """r.id IN (SELECT record FROM uses WHERE owner = ?)
               AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.record = r.id AND u.owner != ?)"""
    return _select(db, where, (owner, owner))


def to_be_renamed(db: Db, owner: int) -> list[tuple[Row, Owner]]:
    """Records that `owner` wrote and others use, each with one of those."""
    found: list[tuple[Row, Owner]] = []
    for row in _select(db, "r.writer = ?", (owner,)):
        statement = """SELECT o.id, o.tenant, o.conversation FROM uses u JOIN owners o ON o.id = u.owner
                       WHERE u.record = ? AND u.owner != ? LIMIT 1"""
        heir = db.execute(statement, (row.id, owner)).fetchone()
        if heir is not None:
            db.execute("UPDATE records SET writer = ? WHERE id = ?", (heir[0], row.id))
            found.append((row, Owner(heir[1], heir[2])))
    return found


def remove_owner(db: Db, owner: int) -> None:
    """With its outputs; its records are the caller's."""
    for statement in (
        "DELETE FROM outputs WHERE owner = ?",
        "DELETE FROM uses WHERE owner = ?",
        "DELETE FROM owners WHERE id = ?",
    ):
        db.execute(statement, (owner,))


def touch(db: Db, rows: Iterable[tuple[Kind, bytes]], now: int, *, hit: bool) -> None:
    statement = "UPDATE records SET used = ?, used_at = ?, hits = hits + ? WHERE key = ? AND kind = ?"
    at = int(time.time())
    db.executemany(statement, ((now, at, int(hit), key, kind) for kind, key in rows))


# --- putting and removing


def add(db: Db, record: Header, now: int, at: int | None = None) -> None:
    """Insert, or replace what has the same name; the owner uses it from now on."""
    owner = make_owner(db, record.owner)
    statement = """INSERT INTO records
        (kind, key, root, parent, start, bytes, n_prefilled, used, used_at, writer, tokens)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (key, kind) DO UPDATE SET bytes = excluded.bytes, n_prefilled = excluded.n_prefilled,
        used = excluded.used, used_at = excluded.used_at, writer = excluded.writer"""
    values = (
        int(record.kind), record.key, make_root(db, record.root, record.label), record.parent, record.start,
        record.size, record.n_prefilled, now, int(time.time()) if at is None else at, owner, record.ids,
    )  # fmt: skip
    db.execute(statement, values)
    if (row := same(db, record.kind, record.key)) is not None:
        add_use(db, owner, row)


def covering(db: Db, record: Header) -> Row | None:
    """A longer block of the same owner that makes this unfinished one needless."""
    owner = owner_id(db, record.owner)
    if owner is None or record.kind is not Kind.ROWS or record.n_tokens == BLOCK:
        return None
    ids = record.ids
    where = f"""r.kind = {Kind.ROWS} AND r.parent = ? AND substr(r.tokens, 1, ?) = ? AND length(r.tokens) > ?
                AND r.n_prefilled >= ? AND r.id IN (SELECT record FROM uses WHERE owner = ?) LIMIT 1"""
    parameters = (record.parent, len(ids), ids, len(ids), record.n_prefilled, owner)
    return next(iter(_select(db, where, parameters)), None)


def superseded(db: Db, record: Header) -> list[Row]:
    """Shorter blocks whose tokens this one extends, and that nobody but its owner uses."""
    if record.kind is not Kind.ROWS:
        return []
    ids, owner = record.ids, make_owner(db, record.owner)
    where = f"""r.kind = {Kind.ROWS} AND r.parent = ? AND length(r.tokens) < ? AND r.n_prefilled <= ?
                AND r.tokens = substr(?, 1, length(r.tokens))
                AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.record = r.id AND u.owner != ?)"""
    return _select(db, where, (record.parent, len(ids), record.n_prefilled, ids, owner))


def spare_states(db: Db, record: Header, kept: int) -> list[Row]:
    """Checkpoints of the same conversation beyond `kept`: all but its first and those used last.

    Checkpoints are large, and one is written at each turn. Of requests without a conversation, those count that lie on
    the way to this one. What other conversations use is not spare.
    """
    if record.kind is not Kind.STATE:
        return []
    owner, root = make_owner(db, record.owner), make_root(db, record.root, record.label)
    alone = "NOT EXISTS (SELECT 1 FROM uses u WHERE u.record = r.id AND u.owner != ?)"
    if record.owner.conversation:
        where = (
            f"r.kind = {Kind.STATE} AND r.root = ? AND r.id IN (SELECT record FROM uses WHERE owner = ?) AND {alone}"
        )
        rows = _select(db, f"{where} ORDER BY r.used", (root, owner, owner))
    else:
        way = {record.parent: record.ids} | {row.parent: row.ids for row in ancestors(db, record.parent)}
        marks = ",".join("?" * len(way))
        where = f"r.kind = {Kind.STATE} AND r.root = ? AND r.parent IN ({marks}) AND {alone} ORDER BY r.used"
        rows = [row for row in _select(db, where, (root, *way, owner)) if way[row.parent].startswith(row.ids)]
    rows = [row for row in rows if row.key != record.key]
    if not rows:
        return []
    first = min(rows, key=lambda row: row.position)
    others = [row for row in rows if row is not first]
    return others[: max(0, len(others) - max(0, kept - 2))]


_LEAF = f"""(r.kind = {Kind.STATE} OR NOT EXISTS (SELECT 1 FROM records c WHERE c.parent = r.key
             OR (c.key = r.key AND c.kind = {Kind.STATE})))"""


def oldest_leaves(db: Db, count: int) -> list[tuple[int, Row]]:
    """Records on which no other hangs, the longest unused first, with when that was."""
    statement = f"SELECT r.used, {_COLUMNS} FROM records r WHERE {_LEAF} ORDER BY r.used LIMIT ?"
    return [(values[0], _row(values[1:])) for values in db.execute(statement, (count,))]


def leaf(db: Db, key: bytes) -> tuple[int, Row] | None:
    """The block of this name, if no other record hangs on it, and when it was used."""
    statement = f"SELECT r.used, {_COLUMNS} FROM records r WHERE r.key = ? AND r.kind = {Kind.ROWS} AND {_LEAF}"
    found = db.execute(statement, (key,)).fetchone()
    return (found[0], _row(found[1:])) if found else None


def inherit(db: Db, kind: Kind, key: bytes, rows: Collection[Row]) -> None:
    """A record takes over how often those were used that it replaces."""
    for row in rows:
        db.execute(
            "UPDATE records SET hits = hits + (SELECT hits FROM records WHERE id = ?) WHERE key = ? AND kind = ?",
            (row.id, key, kind),
        )


def remove(db: Db, rows: Collection[Row]) -> None:
    db.executemany("DELETE FROM records WHERE id = ?", ((row.id,) for row in rows))


def of_model(db: Db, label: str) -> list[Row]:
    return _select(db, "r.root IN (SELECT id FROM roots WHERE label = ?)", (label,))


def remove_model(db: Db, label: str | None) -> None:
    """Outputs, and the names that nothing needs any more; None for every model."""
    statement = "DELETE FROM outputs WHERE ? IS NULL OR root IN (SELECT id FROM roots WHERE label = ?)"
    db.execute(statement, (label, label))
    db.execute("DELETE FROM roots WHERE id NOT IN (SELECT root FROM records UNION SELECT root FROM outputs)")
    db.execute("DELETE FROM owners WHERE id NOT IN (SELECT owner FROM uses UNION SELECT owner FROM outputs)")


# --- for people


def count_records(db: Db) -> int:
    return int(db.execute("SELECT count(*) FROM records").fetchone()[0])


def count_outputs(db: Db) -> int:
    return int(db.execute("SELECT count(*) FROM outputs").fetchone()[0])


def owners_named(db: Db, conversation: str) -> list[Owner]:
    return [
        Owner(*names)
        for names in db.execute("SELECT tenant, conversation FROM owners WHERE conversation = ?", (conversation,))
    ]


_NUMBERS = f"""sum(CASE r.kind WHEN {Kind.ROWS} THEN length(r.tokens) / {TOKEN_BYTES} ELSE 0 END),
               sum(r.kind = {Kind.STATE}), sum(r.bytes), sum(r.hits), max(r.used_at)"""


def usage_of_models(db: Db) -> list[tuple[Any, ...]]:
    """Label, tokens, checkpoints, bytes, hits, last use; the largest first."""
    statement = (
        f"SELECT w.label, {_NUMBERS} FROM records r JOIN roots w ON w.id = r.root GROUP BY w.label ORDER BY 4 DESC"
    )
    return db.execute(statement).fetchall()


def usage_of_owners(db: Db) -> list[tuple[Any, ...]]:
    """Label, tenant, conversation, and the same numbers; the last used first."""
    statement = f"""SELECT w.label, o.tenant, o.conversation, {_NUMBERS}
                    FROM uses u JOIN records r ON r.id = u.record JOIN roots w ON w.id = r.root
                    JOIN owners o ON o.id = u.owner GROUP BY w.label, o.id ORDER BY max(r.used) DESC"""
    return db.execute(statement).fetchall()
