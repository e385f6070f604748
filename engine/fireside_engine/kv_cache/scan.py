"""Files and index compared: what the index learns from the files, and which of them it should not have."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from fireside_engine.kv_cache import catalog
from fireside_engine.kv_cache.disk import Disk, Layout
from fireside_engine.kv_cache.record import HEADER_BYTES, Doubt, Header, Payload, decode, payload_hash

_PAGE = 500
NO_FILE = {errno.EISDIR, errno.ELOOP, errno.ENXIO}
"""A directory, a link, a pipe: somebody put it there."""
_NOT_FOR_US = {errno.EACCES, errno.EPERM, errno.EIO}


def read_header(disk: Disk, path: Path) -> tuple[Header, float]:
    """What a file says of itself, and when it was written. Raises Doubt, or OSError where the disk fails."""
    descriptor = disk.open(path)
    try:
        return _header(disk, descriptor, path), os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def read_record(disk: Disk, path: Path) -> tuple[Header, memoryview]:
    """A whole file, every byte of it checked. Raises Doubt, or OSError where the disk fails."""
    descriptor = disk.open(path)
    try:
        header = _header(disk, descriptor, path)
        payload = disk.read(descriptor, header.payload_bytes, HEADER_BYTES, path)
    finally:
        os.close(descriptor)
    check_payload(header, payload)
    return header, payload


def check_payload(header: Header, payload: Payload) -> None:
    """Raises Doubt."""
    if memoryview(payload).nbytes != header.payload_bytes or payload_hash(payload) != header.payload_hash:
        raise Doubt("the payload's hash is another")


def _header(disk: Disk, descriptor: int, path: Path) -> Header:
    header = decode(bytes(disk.read(descriptor, HEADER_BYTES, 0, path)))
    if os.fstat(descriptor).st_size != header.size:
        raise Doubt("the file has another size")
    return header


def adopt_all(db: catalog.Db, layout: Layout, disk: Disk, counts: Counter[str], stop: Callable[[], bool]) -> None:
    """Fill an empty index with what the files say, in the order in which they were written. Removes doubtful files."""
    found: list[tuple[float, Header]] = []
    for path in layout.all_files(disk):
        if stop():
            return
        if (item := _trusted(layout, disk, path, counts)) is not None:
            found.append(item)
    found.sort(key=lambda item: (item[0], item[1].start, item[1].kind))
    for written, header in found:
        catalog.add(db, header, catalog.tick(db), int(written))


def _trusted(layout: Layout, disk: Disk, path: Path, counts: Counter[str]) -> tuple[float, Header] | None:
    try:
        header, written = read_header(disk, path)
        if layout.parse(path) != (header.kind, header.key):
            raise Doubt("the file has the name of another")
    except FileNotFoundError:
        return None
    except Doubt:
        counts["removed_doubtful"] += 1
        disk.remove(path)
        return None
    except OSError as error:
        if error.errno in NO_FILE:
            counts["removed_doubtful"] += 1
            disk.remove(path)
        elif error.errno in _NOT_FOR_US:
            # One file that cannot be read must not cost the others their place in the index.
            counts["unreadable"] += 1
        else:
            raise
        return None
    return written, header


def strangers(db: catalog.Db, layout: Layout, disk: Disk) -> list[Path]:
    """Files that have no row. To be asked again inside a transaction: another process may be about to add one."""
    known = set(db.execute("SELECT kind, key FROM records"))
    return [path for path in layout.all_files(disk) if layout.parse(path) not in known]


def adopt(db: catalog.Db, layout: Layout, disk: Disk, paths: Iterable[Path], counts: Counter[str]) -> int:
    """Give rows to files that have none, inside a transaction. Removes those that may not have one; their bytes."""
    removed = 0
    for path in paths:
        name = layout.parse(path)
        if name is not None and _has_row(db, name):
            continue
        size = disk.size(path) or 0
        item = _trusted(layout, disk, path, counts)
        if item is None:
            removed += size
            continue
        written, header = item
        catalog.add(db, header, catalog.tick(db), int(written))
        counts["adopted"] += 1
    return removed


def _has_row(db: catalog.Db, name: tuple[int, bytes]) -> bool:
    return db.execute("SELECT 1 FROM records WHERE kind = ? AND key = ?", name).fetchone() is not None


def hollow(db: catalog.Db, layout: Layout, disk: Disk) -> list[catalog.Row]:
    """Rows whose file is not there, or has another size. To be asked again inside a transaction."""
    found: list[catalog.Row] = []
    after = 0
    while rows := catalog.page(db, after, _PAGE):
        found += [row for row in rows if disk.size(layout.file(row.kind, row.key)) != row.size]
        after = rows[-1].id
    return found
