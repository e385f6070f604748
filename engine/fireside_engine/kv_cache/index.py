"""The index: a SQLite database that several processes open at once, and that may be lost at any time.

It is made again from the headers of the files, beside the answers that go on as misses. The file's name changes with
each making, because SQLite finds the journal of a database by its name: a process that still writes into a removed
database must not leave a journal under the name of a new one. So a process that finds its file gone opens the newest.

A rollback journal, not WAL: the library may be older than the repair of the WAL-reset bug (3.51.3). Nothing is synced:
a database that a power failure tears is made again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from fireside_engine.kv_cache import catalog
from fireside_engine.kv_cache.disk import Disk, Layout
from fireside_engine.kv_cache.health import PAUSE
from fireside_engine.kv_cache.temporary import Temporary, locked

log = logging.getLogger(__name__)

READ_WAIT = 1.0
"""Seconds that a look-up waits for whoever writes; then it is a miss, and computing takes longer than this."""
WRITE_WAIT = 5.0
REBUILD_WAIT = 30.0
"""Seconds that a write waits for a new index."""
REBUILDS_AT_ONCE = 5
"""As many within a pause of the tier mean that the disk is at fault."""

_DISK_TROUBLE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}


class Unavailable(Exception):
    """The index cannot be asked now: it is being made, or another process is at it for too long."""


class _Broken(Exception):
    """This database, or its absence, needs a new one."""


Fill = Callable[[catalog.Db], None]
"""Puts what the files say into an empty index."""
Clock = Callable[[], float]


class Index:
    def __init__(self, layout: Layout, disk: Disk, temporary: Temporary, fill: Fill, clock: Clock) -> None:
        self._layout = layout
        self._disk = disk
        self._temporary = temporary
        self._fill = fill
        self._reader = _Slot(self, READ_WAIT)
        self._writer = _Slot(self, WRITE_WAIT)
        self._guard = threading.Lock()
        self._ready = threading.Event()
        self._ready.set()
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None
        self._clock = clock
        self._made: list[float] = []
        self.closing = threading.Event()

    @contextlib.contextmanager
    def reading(self) -> Iterator[catalog.Db]:
        """Raises Unavailable, or OSError where the disk fails."""
        with self._reader.lock, self._words(self._reader):
            yield self._connection(self._reader)

    @contextlib.contextmanager
    def writing(self) -> Iterator[catalog.Db]:
        """One transaction, alone among all processes. Raises Unavailable, or OSError where the disk fails."""
        slot = self._writer
        with slot.lock, self._words(slot):
            try:
                self._ready.wait(REBUILD_WAIT)
                db = self._connection(slot)
            except Unavailable:
                self._ready.wait(REBUILD_WAIT)
                db = self._connection(slot)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                raise

    def wait(self, timeout: float) -> bool:
        """Until no index is being made."""
        return self._ready.wait(timeout)

    def close(self) -> None:
        self.closing.set()
        if (thread := self._thread) is not None:
            thread.join()
        for slot in (self._reader, self._writer):
            with slot.lock:
                slot.close()

    def newest(self) -> Path | None:
        """The database to open."""
        names = [name for name in self._disk.names(self._layout.directory) if _generation(name)[0]]
        return self._layout.directory / max(names, key=_generation) if names else None

    # --- inside

    def _connection(self, slot: _Slot) -> catalog.Db:
        if self.closing.is_set():
            raise Unavailable("the store is closed")
        if not self._ready.is_set():
            raise Unavailable("the index is being made")
        try:
            return slot.get()
        except _Broken as cause:
            self._begin_rebuild(slot.path)
            raise Unavailable("the index is being made") from cause

    @contextlib.contextmanager
    def _words(self, slot: _Slot) -> Iterator[None]:
        """Turn what SQLite says into what a caller can act on."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if code & 0xFF in _BUSY:
                raise Unavailable("another process is at the index") from error
            if code & 0xFF in _DISK_TROUBLE and code != sqlite3.SQLITE_READONLY_DBMOVED:
                raise OSError(_DISK_TROUBLE[code & 0xFF], str(error), str(self._layout.directory)) from error
            if isinstance(error, sqlite3.ProgrammingError):
                raise
            log.warning("the index of the KV cache is broken and is made again: %s", error)
            slot.close()
            self._begin_rebuild(slot.path)
            raise Unavailable("the index is being made") from error

    def _begin_rebuild(self, broken: Path | None) -> None:
        with self._guard:
            if not self._ready.is_set() or self.closing.is_set():
                return
            failure, self._failure = self._failure, None
            if failure is None and len(self._recent()) >= REBUILDS_AT_ONCE:
                failure = OSError(errno.EIO, "the index breaks again and again", str(self._layout.directory))
            if failure is not None:
                raise failure
            self._made.append(self._clock())
            self._ready.clear()
            self._thread = threading.Thread(target=self._rebuild, args=(broken,), name="kv index", daemon=True)
            self._thread.start()

    def _recent(self) -> list[float]:
        self._made = [at for at in self._made if at > self._clock() - PAUSE]
        return self._made

    def _rebuild(self, broken: Path | None) -> None:
        try:
            self._disk.make_directory(self._layout.directory)
            with self._locked():
                newest = self.newest()
                if newest is None or newest == broken:
                    self._make()
        except OSError as error:
            self._failure = error
        except sqlite3.Error as error:
            self._failure = OSError(errno.EIO, str(error), str(self._layout.directory))
        except Unavailable:
            pass
        finally:
            self._ready.set()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        while not self.closing.is_set():
            with locked(self._layout.index_lock, wait=False) as mine:
                if mine:
                    yield
                    return
            self.closing.wait(0.05)
        raise Unavailable("the store is closing")

    def _make(self) -> None:
        path = self._temporary.new()
        try:
            db = _connect(path, WRITE_WAIT, create=True)
            try:
                db.executescript(f"BEGIN; {catalog.SCHEMA}")
                self._fill(db)
                db.execute("COMMIT")
            finally:
                db.close()
            if self.closing.is_set():
                return
            before = [name for name in self._disk.names(self._layout.directory) if name.startswith("index-")]
            number = max((_generation(name)[0] for name in before), default=0) + 1
            # The old one goes first: whoever has it open finds out by its absence, and there are never two.
            for name in before:
                self._disk.remove(self._layout.directory / name)
            self._disk.rename(path, self._layout.directory / f"index-{number:06d}-{secrets.token_hex(4)}.sqlite")
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class _Slot:
    """A connection of one kind of use, and the file that it belongs to."""

    def __init__(self, index: Index, wait: float) -> None:
        self.lock = threading.Lock()
        self.path: Path | None = None
        self._index = index
        self._wait = wait
        self._identity: tuple[int, int] | None = None
        self._connection: catalog.Db | None = None

    def get(self) -> catalog.Db:
        """Raises _Broken, or sqlite3.Error."""
        if self._connection is not None and self._identity == _identity(self.path):
            return self._connection
        self.close()
        self.path = self._index.newest()
        if self.path is None:
            raise _Broken
        identity = _identity(self.path)
        connection = _connect(self.path, self._wait)
        try:
            _check(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _connect(path: Path, wait: float, *, create: bool = False) -> catalog.Db:
    mode = "rwc" if create else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        if create:
            path.chmod(0o600)
        # A database that is still being made needs no journal file: if the process dies, it is removed.
        journal = "MEMORY" if create else "TRUNCATE"
        for pragma in (f"journal_mode = {journal}", "synchronous = OFF", "secure_delete = ON", "trusted_schema = OFF"):
            db.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        db.close()
        raise
    return db


def _check(db: catalog.Db) -> None:
    """Raises _Broken unless this is an index of ours, in one piece."""
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise _Broken
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "meta" not in tables:
        raise _Broken
    found = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if found != (catalog.SCHEMA_VERSION,):
        raise _Broken


def _generation(name: str) -> tuple[int, str]:
    """What orders the databases; (0, "") for other files."""
    words = name.removesuffix(".sqlite").split("-")
    if name.endswith(".sqlite") and len(words) == 3 and words[0] == "index" and words[1].isdecimal():
        return int(words[1]), words[2]
    return 0, ""


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        info = os.stat(path) if path is not None else None  # noqa: PTH116 - None is a path too
    except FileNotFoundError:
        return None
    return (info.st_dev, info.st_ino) if info is not None else None
