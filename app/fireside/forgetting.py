"""Tells the engine which conversations are gone, so that it removes the KV it keeps of them.

Conversations may be removed while no engine runs; the next one is told.
"""

from __future__ import annotations

from fireside.client import EngineClient
from fireside.conversations.store import Store
from fireside.wire import EngineFailure

PATH = "/fireside/cache/forget"
LIMIT = 10.0
"""Seconds for each conversation."""


def forget_removed(store: Store, client: EngineClient) -> None:
    """Raises EngineFailure, StoreFailure; what could not be told is told the next time."""
    for id_ in store.removed():
        try:
            client.post(PATH, {"conversation": id_}, timeout=LIMIT)
        except EngineFailure as failure:
            # An engine without such a route keeps nothing of conversations.
            if failure.status != 404:
                raise
        store.forget_removed([id_])
