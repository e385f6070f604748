"""KV of a model and of the one that drafts for it, kept and found together.

Both are stored under the same tokens and the same owner, each under the name of its own model. What the disk has for
the draft model is read in the time that the model's own KV is read, and never waited for by a prompt that needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer
from fireside_engine.core.restoring import Restored
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Tokens
from fireside_engine.llama.drafter import Drafter
from fireside_engine.llama.runner import Stored, StoredDraft
from fireside_engine.models.gguf import read_header
from fireside_engine.worker import identity
from fireside_engine.worker.keeping import Keeper, Parts

LEAST = 64
"""Tokens; fewer are computed by the draft model as fast as they are read."""


@dataclass(frozen=True, slots=True)
class _Both:
    """What an offer's reader needs."""

    own: Any
    draft: Offer | None
    prompt: Tokens


def draft_keeper(drafter: Drafter, beside: Keeper) -> Keeper:
    """Keeps KV of a draft model in the store of its target."""
    header, context, state = read_header(drafter.path), drafter.context, drafter.state

    def parts(is_new: Callable[[], None]) -> Parts:
        found = identity.parts(drafter.path, header, context, state, is_new, deterministic=False)
        # Its prompts are cut in pieces of another length, so nothing of it may serve where texts are exact.
        return {**found, "role": "draft"}

    return Keeper(
        beside.store, parts, label=f"{drafter.path.stem} (drafts)", has_rows=True, tokenizer=None, beside=beside
    )


class PairKeeper:
    """A driver's Cache. `drafter`: the draft model while it is in memory."""

    def __init__(self, keeper: Keeper, draft: Keeper, drafter: Callable[[], Drafter | None]) -> None:
        self._keeper = keeper
        self._draft = draft
        self._drafter = drafter

    def find(self, sequence: Sequence) -> Offer | None:
        offer = self._keeper.find(sequence)
        if offer is None:
            return None
        draft = self._draft.find(sequence) if self._drafter() is not None and sequence.speculate else None
        return replace(offer, handle=_Both(offer.handle, draft, sequence.prompt))

    def fetch(self, fetch: Fetch, done: Callable[[Any | None, int], None]) -> None:
        both: _Both = fetch.offer.handle
        n = min(both.draft.n, fetch.n) if both.draft is not None else 0

        def with_draft(payload: Any | None, read: int) -> None:
            """The model's own KV is there; the draft model's comes behind it."""
            if payload is None or both.draft is None or n < LEAST:
                done(payload, read)
                return
            wanted = Fetch(fetch.request_id, both.draft, n)
            self._draft.fetch(wanted, lambda own, got: done(_joined(payload, own, both.prompt[:got]), read))

        self._keeper.fetch(_own(fetch), with_draft)

    def restored(self, restored: Restored) -> None:
        both: _Both = restored.fetch.offer.handle
        self._keeper.restored(replace(restored, fetch=_own(restored.fetch)))
        if both.draft is not None:
            n = min(both.draft.n, restored.n)
            self._draft.restored(replace(restored, fetch=Fetch(restored.fetch.request_id, both.draft, n), n=n))

    def ended(self, sequence: Sequence) -> None:
        self._keeper.ended(sequence)

    def forget(self, owner: Owner | None, *, drop: bool) -> None:
        self._keeper.forget(owner, drop=drop)
        if (drafter := self._drafter()) is not None:
            drafter.forget(drop=drop)


def _own(fetch: Fetch) -> Fetch:
    return replace(fetch, offer=replace(fetch.offer, handle=fetch.offer.handle.own))


def _joined(payload: Stored, draft: Stored | None, tokens: Tokens) -> Stored:
    if draft is None or not len(tokens):
        return payload
    return replace(payload, draft=StoredDraft(tokens, draft.rows))
