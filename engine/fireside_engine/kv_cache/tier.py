"""The disk tier: directory, index, switches, counters, and the room in it. `Store` and `upkeep` stand on it.

All changes of files happen inside a transaction of the index, so that of all processes one at a time publishes or
removes; what a crash leaves between the two is found by the sweep.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from fireside_engine.core import cache_budget
from fireside_engine.kv_cache import catalog, scan
from fireside_engine.kv_cache.disk import Disk, Layout
from fireside_engine.kv_cache.health import Switch
from fireside_engine.kv_cache.index import Index, Unavailable
from fireside_engine.kv_cache.temporary import Temporary

_LEAVES = 64
"""Asked for at once."""


class Tier:
    def __init__(
        self,
        directory: Path,
        *,
        budget: int | None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disk = disk or Disk()
        self.layout = Layout(directory)
        self.temporary = Temporary(self.layout.temporary, self.disk)
        self.reading = Switch("Reading", clock)
        self.writing = Switch("Writing", clock)
        self.index = Index(self.layout, self.disk, self.temporary, self._fill, clock)
        self._budget = budget
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    # --- trouble

    @contextlib.contextmanager
    def quietly(self, switch: Switch) -> Iterator[None]:
        """Whatever the disk does ends here: the caller goes on as if nothing had been asked."""
        try:
            yield
            switch.worked()
        except Unavailable:
            self.count("unavailable")
        except OSError as error:
            self.count("disk_errors")
            switch.failed(error)

    def count(self, name: str, value: int = 1) -> None:
        with self._counting:
            self._counts[name] += value

    def counts(self, db: catalog.Db) -> dict[str, int]:
        """Of all processes since the index was made, with those of this one that it does not know yet."""
        with self._counting:
            return dict(sorted((Counter(catalog.counts(db)) + self._counts).items()))

    def own_counts(self) -> Counter[str]:
        """What this process has counted and not handed on."""
        with self._counting:
            return Counter(self._counts)

    # --- changes

    @contextlib.contextmanager
    def change(self) -> Iterator[catalog.Db]:
        """A transaction. Raises Unavailable, or OSError."""
        with self.index.writing() as db:
            with self._counting:
                handed_on = Counter(self._counts)
            catalog.add_counts(db, handed_on.items())
            yield db
        with self._counting:
            self._counts = self._counts - handed_on

    def drop(self, db: catalog.Db, rows: Collection[catalog.Row]) -> int:
        """Remove records and their files; bytes."""
        catalog.remove(db, rows)
        for row in rows:
            self.disk.remove(self.layout.file(row.kind, row.key))
        return sum(row.size for row in rows)

    def budget(self, held: int) -> int:
        """Bytes that the records may take. Where the user named none it is settled at the first question."""
        if self._budget is None:
            free, _ = self.disk.space(self.layout.directory)
            self._budget = cache_budget.default_budget(free, held)
        return self._budget

    def make_room(self, db: catalog.Db, size: int, protected: Collection[bytes]) -> bool:
        """Evict until `size` more bytes fit; False where they cannot."""
        held = catalog.held(db)
        free, whole = self.disk.space(self.layout.directory)
        limit = cache_budget.limit(self.budget(held), held, free, cache_budget.reserve(whole))
        if size > limit:
            self.count("refused")
            return False
        if held + size <= limit:
            return True
        freed = self.evict(db, held + size - limit, protected)
        if held + size - freed > limit:
            self.count("refused")
            return False
        return True

    def evict(self, db: catalog.Db, size: int, protected: Collection[bytes] = ()) -> int:
        """Remove at least `size` bytes if there are as many: leaves first, the longest unused of them. Bytes."""
        freed = 0
        while freed < size:
            oldest = catalog.oldest_leaves(db, _LEAVES + 2 * len(protected))
            leaves = [(used, row) for used, row in oldest if row.key not in protected]
            if not leaves:
                break
            heap = [(used, row.id, row) for used, row in leaves]
            heapq.heapify(heap)
            youngest = max(used for used, _ in leaves)
            while heap and freed < size:
                used, _, row = heapq.heappop(heap)
                if used > youngest:
                    # It became a leaf just now; older ones may not have been asked for yet.
                    break
                freed += self.drop(db, [row])
                self.count("evicted")
                if (parent := catalog.leaf(db, row.parent)) is not None and parent[1].key not in protected:
                    heapq.heappush(heap, (parent[0], parent[1].id, parent[1]))
        return freed

    def sweep_strangers(self) -> int:
        """Adopt or remove files without a row, remove rows without a file; bytes removed. Raises as `change` does."""
        with self.index.reading() as db:
            strangers = scan.strangers(db, self.layout, self.disk)
            hollow = scan.hollow(db, self.layout, self.disk)
        if not strangers and not hollow:
            return 0
        with self.change() as db:
            counts: Counter[str] = Counter()
            removed = scan.adopt(db, self.layout, self.disk, strangers, counts)
            gone = [row for row in hollow if self._is_hollow(db, row)]
            self.drop(db, gone)
            held = catalog.held(db)
            removed += self.evict(db, held - self.budget(held))
            catalog.add_counts(db, [*counts.items(), ("hollow", len(gone))])
        return removed

    def _is_hollow(self, db: catalog.Db, row: catalog.Row) -> bool:
        now = catalog.same(db, row.kind, row.key)
        return now is not None and now.id == row.id and self.disk.size(self.layout.file(row.kind, row.key)) != now.size

    def _fill(self, db: catalog.Db) -> None:
        counts: Counter[str] = Counter(rebuilds=1)
        scan.adopt_all(db, self.layout, self.disk, counts, self.index.closing.is_set)
        catalog.add_counts(db, counts.items())

    def close(self) -> None:
        self.index.close()
        self.temporary.close()
