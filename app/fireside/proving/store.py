"""Runs of `fireside prove` on disk: every answer, check and vote is there as soon as it exists.

The file holds prompts and answers of the user. It lies beside the conversations, is as private as they are, and
`fireside prove --forget` empties it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from fireside.conversations.database import Database
from fireside.proving.items import Item
from fireside.proving.judging import Vote
from fireside.proving.sampling import Placed
from fireside.wire import JsonObject
from fireside_engine import address

FILE = "proofs.db"

_FIRST = """
CREATE TABLE runs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    key     TEXT NOT NULL,
    about   TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX runs_by_key ON runs (key, id);
CREATE TABLE items (
    run    INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    place  INTEGER NOT NULL,
    id     TEXT NOT NULL,
    half   TEXT NOT NULL CHECK (half IN ('chosen', 'held')),
    item   TEXT NOT NULL,
    PRIMARY KEY (run, id)
) WITHOUT ROWID;
CREATE TABLE answers (
    run    INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    item   TEXT NOT NULL,
    arm    TEXT NOT NULL,
    answer TEXT NOT NULL,
    made   REAL NOT NULL,
    PRIMARY KEY (run, item, arm)
) WITHOUT ROWID;
CREATE TABLE checks (
    run    INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    item   TEXT NOT NULL,
    arm    TEXT NOT NULL,
    passed INTEGER NOT NULL,
    why    TEXT NOT NULL,
    PRIMARY KEY (run, item, arm)
) WITHOUT ROWID;
CREATE TABLE votes (
    run     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    item    TEXT NOT NULL,
    arm     TEXT NOT NULL,
    swapped INTEGER NOT NULL,
    first   REAL,
    PRIMARY KEY (run, item, arm, swapped)
) WITHOUT ROWID;
"""
STEPS = (_FIRST,)


class Answered(NamedTuple):
    """What one arm said to one prompt, and what it took."""

    text: str
    seconds: float
    """From the request to its end, without loading the model and without waiting for others."""
    tokens: int = 0
    prompt_tokens: int = 0
    """Read for this answer; those that were cached are not among them."""
    cached_tokens: int = 0
    joules: float | None = None
    finish: str = "stop"
    tier: str = ""
    """Whose answer it is, where the engine chose."""
    doubt: float | None = None
    """The engine's, of the small tier's answer."""
    kind: str = ""
    """Of the prompt, as the engine calls it."""
    escalated: bool = False
    kept: int = 0
    """Tokens of the small tier's answer that the large one kept."""
    deferred: int = 0
    error: str = ""
    """In words, where there is no answer."""


class Checked(NamedTuple):
    passed: bool
    why: str


class Run:
    """One run; all its rows are read once, and written as they come."""

    def __init__(self, database: Database, id_: int, about: JsonObject) -> None:
        self.id = id_
        self.about = about
        """Roster, sources, seed: what the key was made of."""
        self._database = database
        rows = database.rows("SELECT item, half FROM items WHERE run = ? ORDER BY place", (id_,))
        self.placed = [Placed(Item.of_json(json.loads(row["item"])), row["half"]) for row in rows]
        self.answers = {
            (str(row["item"]), str(row["arm"])): Answered(**json.loads(row["answer"]))
            for row in database.rows("SELECT item, arm, answer FROM answers WHERE run = ?", (id_,))
        }
        self.checks = {
            (str(row["item"]), str(row["arm"])): Checked(bool(row["passed"]), str(row["why"]))
            for row in database.rows("SELECT item, arm, passed, why FROM checks WHERE run = ?", (id_,))
        }
        self.votes = {
            (str(row["item"]), str(row["arm"]), bool(row["swapped"])): Vote(row["first"])
            for row in database.rows("SELECT item, arm, swapped, first FROM votes WHERE run = ?", (id_,))
        }

    def add_answer(self, item: str, arm: str, answer: Answered) -> None:
        """Raises StoreFailure."""
        text = json.dumps(answer._asdict(), ensure_ascii=False).encode("utf-8", "replace").decode()
        self._write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (item, arm, text, time.time()))
        self.answers[item, arm] = answer

    def add_check(self, item: str, arm: str, checked: Checked) -> None:
        """Raises StoreFailure."""
        self._write("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?)", (item, arm, checked.passed, checked.why))
        self.checks[item, arm] = checked

    def add_vote(self, item: str, arm: str, swapped: bool, vote: Vote) -> None:
        """Raises StoreFailure."""
        values = (item, arm, swapped, vote.first_is_better)
        self._write("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?)", values)
        self.votes[item, arm, swapped] = vote

    def add_items(self, placed: list[Placed]) -> None:
        """More prompts at the end. Raises StoreFailure."""
        with self._database.transaction() as connection:
            _write_items(connection, self.id, placed, len(self.placed))
        self.placed += placed

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._database.transaction() as connection:
            connection.execute(statement, (self.id, *values))


class Proofs:
    """All runs of this user."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises StoreFailure."""
        self._database = Database(path or address.data_dir() / FILE, STEPS, what="The proofs")

    def close(self) -> None:
        self._database.close()

    def find(self, about: JsonObject) -> Run | None:
        """The newest run of the same roster, sources and settings."""
        rows = self._database.rows("SELECT id FROM runs WHERE key = ? ORDER BY id DESC LIMIT 1", (_key(about),))
        return Run(self._database, int(rows[0]["id"]), about) if rows else None

    def begin(self, about: JsonObject, placed: list[Placed]) -> Run:
        """A new run; its prompts are fixed from now on. Raises StoreFailure."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO runs (key, about, created) VALUES (?, ?, ?)",
                (_key(about), json.dumps(about), time.time()),
            )
            id_ = int(cursor.lastrowid or 0)
            _write_items(connection, id_, placed, 0)
        return Run(self._database, id_, about)

    def forget(self) -> int:
        """Remove all runs for good; how many there were."""
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM runs").rowcount


def _key(about: JsonObject) -> str:
    return json.dumps(about, sort_keys=True)


def _write_items(connection: sqlite3.Connection, run: int, placed: list[Placed], begin: int) -> None:
    rows = []
    for place, (item, half) in enumerate(placed, begin):
        text = json.dumps(item.to_json(), ensure_ascii=False).encode("utf-8", "replace").decode()
        rows.append((run, place, item.id, half, text))
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
