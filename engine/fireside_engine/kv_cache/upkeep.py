"""What an owner asks of the store: show, clear, verify, make smaller. These may take long, and they may fail.

All raise OSError where the disk fails and Unavailable where the index cannot be asked now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache import catalog, scan
from fireside_engine.kv_cache.record import Doubt
from fireside_engine.kv_cache.store import Removed, Store

_PAGE = 200
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A model, or what one conversation has of it. What conversations share is counted with each of them."""

    model: str
    owner: Owner | None
    """None for the whole model."""
    tokens: int
    checkpoints: int
    bytes: int
    hits: int
    """How often records were restored."""
    used_at: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Summary:
    bytes: int
    records: int
    budget: int
    models: tuple[Usage, ...]
    conversations: tuple[Usage, ...]
    """The last used first."""
    outputs: int
    """Answers kept as they were generated."""
    counts: dict[str, int]
    reading: bool
    """Whether the tier is on."""
    writing: bool


@dataclass(frozen=True, slots=True)
class Verified:
    records: int
    bytes: int
    removed: Removed


def summary(store: Store) -> Summary:
    tier = store.tier
    with tier.index.reading() as db:
        held = catalog.held(db)
        return Summary(
            bytes=held,
            records=catalog.count_records(db),
            budget=tier.budget(held),
            models=tuple(Usage(model, None, *numbers) for model, *numbers in catalog.usage_of_models(db)),
            conversations=tuple(
                Usage(model, Owner(tenant, conversation), *numbers)
                for model, tenant, conversation, *numbers in catalog.usage_of_owners(db)
            ),
            outputs=catalog.count_outputs(db),
            counts=tier.counts(db),
            reading=tier.reading.on,
            writing=tier.writing.on,
        )


def clear(store: Store, model: str | None = None) -> Removed:
    """Delete what belongs to a model, or everything."""
    tier = store.tier
    tier.sweep_strangers()
    with tier.change() as db:
        rows = catalog.of_model(db, model) if model is not None else catalog.page(db, 0, -1)
        size = tier.drop(db, rows)
        catalog.remove_model(db, model)
    return Removed(len(rows), size)


def owners_of(store: Store, conversation: str) -> Sequence[Owner]:
    """Tenants that have a conversation of this name."""
    with store.tier.index.reading() as db:
        return catalog.owners_named(db, conversation)


def prune(store: Store, to_bytes: int) -> Removed:
    """Evict, the longest unused first, until no more than `to_bytes` are left."""
    tier = store.tier
    with tier.change() as db:
        before = catalog.count_records(db)
        freed = tier.evict(db, catalog.held(db) - to_bytes)
        return Removed(before - catalog.count_records(db), freed)


def verify(store: Store, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> Verified:
    """Read every record, remove those that may not be used. `stop` ends it early."""
    store.tier.sweep_strangers()
    with store.tier.index.reading() as db:
        total = catalog.held(db)
    records = done = bad = bad_bytes = after = 0
    while not (stop is not None and stop()):
        with store.tier.index.reading() as db:
            rows = catalog.page(db, after, _PAGE)
        if not rows:
            break
        after = rows[-1].id
        for row in rows:
            if stop is not None and stop():
                break
            if not _is_good(store, row) and (size := _remove_bad(store, row)):
                bad, bad_bytes = bad + 1, bad_bytes + size
            records, done = records + 1, done + row.size
            if progress is not None:
                progress(min(done, total), total)
    return Verified(records, done, Removed(bad, bad_bytes))


def _is_good(store: Store, row: catalog.Row) -> bool:
    tier = store.tier
    try:
        header, _ = scan.read_record(tier.disk, tier.layout.file(row.kind, row.key))
    except (Doubt, OSError):
        return False
    return (header.kind, header.key, header.parent, header.start, header.ids, header.size) == (
        row.kind, row.key, row.parent, row.start, row.ids, row.size,
    )  # fmt: skip


def _remove_bad(store: Store, row: catalog.Row) -> int:
    """Bytes; 0 where another process has removed or replaced it meanwhile."""
    tier = store.tier
    with tier.change() as db:
        now = catalog.same(db, row.kind, row.key)
        if now is None or now.id != row.id or _is_good(store, now):
            return 0
        catalog.remove(db, [now])
        tier.disk.remove(tier.layout.file(row.kind, row.key))
        tier.count("removed_doubtful")
        return now.size
