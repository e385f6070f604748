"""What was decided and what it cost, of each answer: for `fireside why` and `fireside stats`. SQLite, owner only.

Bounded, and without a word of any prompt; only shadows (server.routing.shadow), which the user asks for, keep theirs.
All of it happens on one thread of its own: no answer waits for the disk, and what cannot be written is lost, not more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fireside_engine import address

log = logging.getLogger(__name__)

FILE_NAME = "routing.sqlite3"
MOST = 20_000
"""Answers that are remembered."""
MOST_SHADOWS = 500
_TRIM = 200
_SCHEMA = """
create table if not exists answers (
  n integer primary key autoincrement, id text not null, made real not null, counts integer not null, body text not
  null); create index if not exists answers_by_id on answers (id);
create table if not exists shadows (
  n integer primary key autoincrement, id text not null unique, made real not null, body text not null);
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One answer."""

    id: str
    made: float
    """Seconds since the epoch."""
    body: dict[str, Any]
    """model, dialect-independent timings, and route where there was a choice."""
    counts: bool = True
    """It is part of the sums; answers that were not to be saved are not."""


class Trace:
    """Opened at the first use. Owned by one event loop."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace")
        self._connection: sqlite3.Connection | None = None
        self._added = 0

    def add(self, row: Row) -> None:
        """Soon; never raises."""
        self._thread.submit(self._safely, self._add, row)

    def add_shadow(self, made: float, body: dict[str, Any]) -> None:
        self._thread.submit(self._safely, self._add_shadow, made, body)

    async def find(self, wanted: str = "") -> Row | None:
        """The latest whose id is, or begins or ends with, this; the latest of all where nothing is given."""
        return await self._ask(lambda connection: _find(connection, wanted))

    async def rows(self, since: float = 0.0) -> list[Row]:
        """Those that count, the oldest first."""
        sql = "select id, made, body, counts from answers where counts and made >= ? order by n"
        return await self._ask(lambda connection: [_row(*each) for each in connection.execute(sql, (since,))])

    async def shadows(self) -> list[dict[str, Any]]:
        sql = "select made, body from shadows order by n"
        return await self._ask(lambda c: [{"made": made, **json.loads(body)} for made, body in c.execute(sql)])

    async def forget(self) -> int:
        """Remove everything. Returns how many answers were known."""
        return await self._ask(_clear)

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    # --- on the thread

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question(self._open()))

    def _safely(self, do: Callable[..., None], *what: object) -> None:
        try:
            do(*what)
        except (sqlite3.Error, OSError):
            log.exception("what an answer cost could not be written")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            path = self._path or address.make_private(address.data_dir()) / FILE_NAME
            # SQLite makes its other files with the mode of this one.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("pragma secure_delete = on")
            self._connection.executescript(_SCHEMA)
        return self._connection

    def _add(self, row: Row) -> None:
        connection = self._open()
        body = json.dumps(row.body, ensure_ascii=False)
        sql = "insert into answers (id, made, counts, body) values (?, ?, ?, ?)"
        connection.execute(sql, (row.id, row.made, row.counts, body))
        self._added += 1
        if self._added % _TRIM == 1:
            connection.execute("delete from answers where n <= (select max(n) from answers) - ?", (MOST,))

    def _add_shadow(self, made: float, body: dict[str, Any]) -> None:
        connection = self._open()
        text = json.dumps(body, ensure_ascii=False)
        connection.execute("insert or replace into shadows (id, made, body) values (?, ?, ?)", (body["id"], made, text))
        connection.execute("delete from shadows where n <= (select max(n) from shadows) - ?", (MOST_SHADOWS,))
        row = connection.execute("select n, body from answers where id = ?", (body["id"],)).fetchone()
        if row is not None:
            known = json.loads(row[1])
            if known.get("route"):
                known["route"]["shadowed"] = True
                connection.execute("update answers set body = ? where n = ?", (json.dumps(known), row[0]))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _find(connection: sqlite3.Connection, wanted: str) -> Row | None:
    sql = "select id, made, body, counts from answers"
    if not wanted:
        found = connection.execute(f"{sql} order by n desc limit 1").fetchone()
    else:
        escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        where = " where id = ? or id like ? escape '\\' or id like ? escape '\\' order by id = ? desc, n desc limit 1"
        found = connection.execute(sql + where, (wanted, f"{escaped}%", f"%{escaped}", wanted)).fetchone()
    return None if found is None else _row(*found)


def _row(name: str, made: float, body: str, counts: int) -> Row:
    return Row(name, made, json.loads(body), bool(counts))


def _clear(connection: sqlite3.Connection) -> int:
    n = int(connection.execute("select count(*) from answers").fetchone()[0])
    connection.execute("delete from answers")
    connection.execute("delete from shadows")
    connection.execute("vacuum")
    return n
