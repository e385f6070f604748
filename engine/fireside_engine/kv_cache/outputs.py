"""Answers as they were generated: the tokens of a text that the tokenizer would cut in another way.

A conversation sends its history as text. Where the model had written "un" + "believable" and the tokenizer makes
"unbeliev" + "able", the prefix would end there. Kept in the index only: a lost one costs a shorter prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import catalog

MOST = 4096
MOST_BYTES = 32 * 1024 * 1024
LONGEST = 1024 * 1024
"""Bytes of packed tokens; a longer answer is not kept."""


def remember(db: catalog.Db, root: bytes, digest: bytes, ids: bytes, owner: Owner) -> None:
    if len(ids) > LONGEST:
        return
    statement = """INSERT INTO outputs (root, digest, owner, used, tokens) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (root, digest, owner) DO UPDATE SET tokens = excluded.tokens, used = excluded.used"""
    who, where = catalog.make_owner(db, owner), catalog.make_root(db, root, "")
    db.execute(statement, (where, digest, who, catalog.tick(db), ids))
    _limit(db)


def recall(db: catalog.Db, root: bytes, digests: Sequence[bytes]) -> dict[bytes, bytes]:
    """Packed tokens by digest; of several owners' the last used."""
    found: dict[bytes, bytes] = {}
    where = catalog.root_id(db, root)
    for digest in digests if where is not None else ():
        statement = "SELECT tokens FROM outputs WHERE root = ? AND digest = ? ORDER BY used DESC LIMIT 1"
        if (row := db.execute(statement, (where, digest)).fetchone()) is not None:
            found[digest] = row[0]
    return found


def touch(db: catalog.Db, recalled: Iterable[tuple[bytes, bytes]]) -> None:
    now = catalog.tick(db)
    statement = "UPDATE outputs SET used = ? WHERE root = (SELECT id FROM roots WHERE root = ?) AND digest = ?"
    db.executemany(statement, ((now, root, digest) for root, digest in recalled))


def _limit(db: catalog.Db) -> None:
    count, size = db.execute("SELECT count(*), coalesce(sum(length(tokens)), 0) FROM outputs").fetchone()
    while count > MOST or size > MOST_BYTES:
        oldest = "SELECT root, digest, owner, length(tokens) FROM outputs ORDER BY used LIMIT 1"
        *name, length = db.execute(oldest).fetchone()
        db.execute("DELETE FROM outputs WHERE root = ? AND digest = ? AND owner = ?", name)
        count, size = count - 1, size - length
