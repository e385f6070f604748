"""The file of conversations, and transactions in it that several programs may do at once.

A rollback journal, not WAL: SQLite from 3.7.0 to 3.51.2 can corrupt a WAL database that several connections use (the
WAL-reset bug), and chats in two terminals and the command line are several. Writers take their lock at once
(`BEGIN IMMEDIATE`) and hold it for a few statements; others wait for it. A transaction that has returned is on the disk
(`synchronous=FULL`), so neither kill -9 nor a power cut takes back what was called saved.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fireside.conversations.schema import STEPS
from fireside.conversations.search import fold
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside_engine import address

FILE = "conversations.db"
PATIENCE = 10.0
"""Seconds to wait for another program's transaction; each takes milliseconds."""


def default_path() -> Path:
    return address.data_dir() / FILE


class StoreFailure(Failure):
    """The conversations cannot be read or written. A chat goes on without them, and says so."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, ExitCode.FAILED, hint=hint, code="conversations")


class Database:
    """One connection. Calls from several threads are done one after the other."""

    def __init__(self, path: Path, steps: Sequence[str] = STEPS, what: str = "The conversations") -> None:
        """`what` the file holds, for words about it. Raises StoreFailure."""
        self.path = path
        self._what = what
        self._lock = threading.RLock()
        with self.in_words():
            address.make_private(path.parent)
            # SQLite gives its journal the mode of the file, so this is decided once.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(steps)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """All rows of a question; the lock of readers is held no longer than that. Raises StoreFailure."""
        with self._lock, self.in_words():
            rows: list[sqlite3.Row] = self._connection.execute(statement, values).fetchall()
            return rows

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; on the disk when the block has ended. Raises StoreFailure.

        Without `writes` it is a view of one moment.
        """
        with self._lock, self.in_words():
            self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """What can go wrong with a file of SQLite, as a user meets it."""
        try:
            yield
        except sqlite3.OperationalError as cause:
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                hint = f"Another program has kept {self.path} locked for {PATIENCE:.0f} s."
                raise StoreFailure(f"{self._what} are in use.", hint) from cause
            raise StoreFailure(f"{self._what} cannot be used: {cause}.", f"They lie in {self.path}.") from cause
        except sqlite3.DatabaseError as cause:
            hint = f"Move {self.path} away to begin anew; `sqlite3 FILE .recover` may get its content back."
            raise StoreFailure(f"{self._what} cannot be read: {cause}.", hint) from cause
        except OSError as cause:
            raise StoreFailure(
                f"{self._what} cannot be kept: {cause}.", f"{self.path.parent} must be yours and writable."
            ) from cause

    def _prepare(self, steps: Sequence[str]) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        connection.create_function("folded", 1, fold, deterministic=True)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        # What was removed is overwritten, not only marked as free.
        connection.execute("PRAGMA secure_delete = ON")
        if self._version() < len(steps):
            self._migrate(steps)
        if self._version() > len(steps):
            hint = f"Update fireside, or move {self.path} away."
            raise StoreFailure(f"{self._what} were written by a newer fireside.", hint)

    def _migrate(self, steps: Sequence[str]) -> None:
        with self.transaction() as connection:
            # Another program may have done it while this one waited for the lock.
            for step in steps[self._version() :]:
                for statement in _statements(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {max(len(steps), self._version())}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
