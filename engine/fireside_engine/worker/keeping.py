"""KV between runs: what is cut out of slots goes to disk, and what a prompt has there comes back.

Decoding only copies; hashing, writing and reading happen on threads of their own. Whatever goes wrong here costs time,
never an answer.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from fireside_engine.core.blocks import BLOCK, chain, root_key
from fireside_engine.core.divergence import Divergence
from fireside_engine.core.owner import Owner
from fireside_engine.core.prefix import Fetch, Offer
from fireside_engine.core.restoring import Restored
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.state_rows import Rows, RowsUse
from fireside_engine.core.step import Cut, Tokens
from fireside_engine.kv_cache.found import Found
from fireside_engine.kv_cache.reader import Reader
from fireside_engine.kv_cache.record import Kind, Record
from fireside_engine.kv_cache.store import Fetched, Store
from fireside_engine.kv_cache.writer import QUEUE_BYTES, Writer
from fireside_engine.llama.runner import Stored
from fireside_engine.llama.tokenizer import Tail, Tokenizer

ASSUMED_RATE = 400e6
"""Bytes per second of a disk that was not measured yet: a slow SSD."""

IDENTIFY_SECONDS = 2.0
"""What the first prompt after a load waits for the name of a model that is known."""

REMEMBERED = 4096
"""Answers whose tokens are kept in memory."""

T = TypeVar("T")

log = logging.getLogger(__name__)

Parts = Mapping[str, str | int | bool | bytes]


class Keeper:
    """One for each loaded model. `keep` belongs to the thread that decodes; everything else may come from anywhere."""

    def __init__(
        self,
        store: Store,
        identify: Callable[[Callable[[], None]], Parts],
        *,
        label: str,
        has_rows: bool,
        tokenizer: Tokenizer | None,
        beside: Keeper | None = None,
    ) -> None:
        """identify: everything that makes KV useless elsewhere; on a thread of its own, because it may read the whole
        model. It then calls its argument first: nothing can be there of a model that was never seen. label: the model,
        for people. tokenizer: None where answers are not remembered. beside: the keeper of another model in this
        process, whose threads serve this one too."""
        self.store = store
        self._writer: Writer = Writer(store) if beside is None else beside._writer
        self._reader: Reader = Reader(store) if beside is None else beside._reader
        self._label = label
        self._has_rows = has_rows
        self._tokenizer = tokenizer
        self._identified = threading.Event()
        self._worth_asking = threading.Event()
        self._parts: Parts | None = None
        self._early: list[tuple[Cut, list[Rows], bytes | None]] = []
        self._early_bytes = 0
        self._early_answers: list[tuple[bytes, bytes, Tokens, Owner]] = []
        """Scope, digest of the text, tokens: what is remembered once the model's name is known."""
        self._lock = threading.Lock()
        self._spoken: OrderedDict[tuple[bytes, bytes], Tokens] = OrderedDict()
        threading.Thread(target=self._identify, args=(identify,), name="identify", daemon=True).start()

    # --- what the driver asks

    def find(self, sequence: Sequence) -> Offer | None:
        self._worth_asking.wait(IDENTIFY_SECONDS)
        root = self._root(sequence.scope)
        if root is None:
            return None
        found = _answer(self._reader.find(root, sequence.prompt, states_alone=not self._has_rows)) or Found(root)
        n = found.n if self._has_rows else max((state.position for state in found.states), default=0)
        divergence = None
        if found.divergence is not None:
            divergence = Divergence(found.divergence.position, found.divergence.stored_token)
        if n == 0 and divergence is None:
            return None
        per_token = found.size / found.n if found.n else 0.0
        return Offer(
            n=n,
            prefilled=found.prefilled if self._has_rows else n,
            states=tuple(state.position for state in found.states),
            seconds_per_token=per_token / (self._reader.bytes_per_second or ASSUMED_RATE),
            divergence=divergence,
            handle=found,
        )

    def known(self, scope: bytes, tokens: Tokens) -> int:
        """How many of the first tokens have KV on disk."""
        root = self._root(scope)
        found = _answer(self._reader.find(root, tokens, states_alone=not self._has_rows)) if root is not None else None
        if found is None:
            return 0
        return found.n if self._has_rows else max((state.position for state in found.states), default=0)

    def fetch(self, fetch: Fetch, done: Callable[[Any | None, int], None]) -> None:
        found: Found = fetch.offer.handle
        pieces = sum(piece.start < fetch.n for piece in found.pieces)
        states = [state for state in found.states if state.position == fetch.n]
        future = self._reader.fetch(found, pieces, states)
        future.add_done_callback(lambda read: done(*self._stored(found, fetch.n, _answer(read), bool(states))))

    def restored(self, restored: Restored) -> None:
        if restored.owner is not None:
            self._writer.used(restored.fetch.offer.handle, restored.n, restored.owner)

    def ended(self, sequence: Sequence) -> None:
        """Remember the tokens of an answer whose text would be cut into others when it comes back as history."""
        tail: Tail | None = sequence.tail
        if (
            tail is None
            or self._tokenizer is None
            or sequence.owner is None
            or sequence.stop_string is not None
            or not sequence.generated
        ):
            return
        tokens = sequence.generated
        if tokens[-1] in sequence.eog:
            tokens = tokens[:-1]
        if not tokens:
            return
        # As the client got it: half characters were shown as replacement characters.
        answer = b"".join(map(sequence.piece, tokens)).decode("utf-8", "replace")
        n = len(sequence.prompt)
        real = np.concatenate((sequence.prompt[n - tail.n :], np.array(tokens, np.int32)))
        # Some templates take the white space around a message.
        for text in {tail.text + answer, tail.text + answer.strip()}:
            if np.array_equal(self._tokenizer.spoken(text, tail.before), real):
                continue
            digest = _digest(text)
            with self._lock:
                self._spoken[sequence.scope, digest] = real
                while len(self._spoken) > REMEMBERED:
                    self._spoken.popitem(last=False)
            self._remember(sequence.scope, digest, real, sequence.owner)

    def _remember(self, scope: bytes, digest: bytes, tokens: Tokens, owner: Owner) -> None:
        with self._lock:
            if not self._identified.is_set():
                self._early_answers.append((scope, digest, tokens, owner))
                return
        root = self._root(scope)
        if root is not None:
            self._writer.remember(root, digest, tokens, owner)

    # --- what the one who prepares prompts asks

    def recall(self, scope: bytes, texts: Items[str]) -> dict[str, Tokens]:
        """Tokens of those texts that are answers of this model, as it generated them."""
        digests = {_digest(text): text for text in texts if text}
        known: dict[str, Tokens] = {}
        if digests:
            self._worth_asking.wait(IDENTIFY_SECONDS)
        with self._lock:
            for digest in list(digests):
                tokens = self._spoken.get((scope, digest))
                if tokens is not None:
                    known[digests.pop(digest)] = tokens
        root = self._root(scope)
        if root is not None and digests:
            for digest, ids in (_answer(self._reader.recall(root, list(digests))) or {}).items():
                known[digests[digest]] = np.array(ids, np.int32)
        return known

    # --- what the runner brings

    def keep(self, cut: Cut, rows: list[Rows], state: bytes | None) -> bool:
        """Take over what was cut. False when too much waits already."""
        with self._lock:
            if not self._identified.is_set():
                self._early_bytes += sum(len(row.payload) for row in rows) + len(state or b"")
                if self._early_bytes > QUEUE_BYTES:
                    return False
                self._early.append((cut, rows, state))
                return True
        return self._write(cut, rows, state)

    def forget(self, owner: Owner | None, *, drop: bool) -> None:  # noqa: ARG002 - what is in memory is the driver's
        """What waits to be written of a deleted conversation goes, and so do answers in memory: of all conversations,
        because whose they are is not known here."""
        with self._lock:
            self._spoken.clear()
            self._early = [waiting for waiting in self._early if owner is None or waiting[0].owner != owner]
            self._early_answers = [one for one in self._early_answers if owner is None or one[3] != owner]
        if owner is not None:
            self._writer.forget(owner)

    def identified(self, timeout: float) -> bool:
        """What was cut so far is on its way to the disk. Waits until the model's name is known."""
        return self._identified.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Write what waits. False when that takes longer."""
        self.identified(timeout)
        self._reader.close()
        written = self._writer.close(timeout)
        if written:
            self.store.close()
        return written

    # --- inside

    def _identify(self, identify: Callable[[Callable[[], None]], Parts]) -> None:
        parts: Parts | None = None
        try:
            parts = identify(self._worth_asking.set)
        except OSError as error:
            log.warning("KV is not kept on disk: the model's file cannot be read: %s", error)
        with self._lock:
            # Still under the lock: what is cut from now on hangs on what was cut before.
            self._parts = parts
            early, self._early = self._early, []
            for waiting in early:
                self._write(*waiting)
            answers, self._early_answers = self._early_answers, []
            for scope, digest, tokens, owner in answers:
                if (root := self._root(scope)) is not None:
                    self._writer.remember(root, digest, tokens, owner)
            self._identified.set()
            self._worth_asking.set()

    def _root(self, scope: bytes) -> bytes | None:
        return None if self._parts is None else root_key({**self._parts, "scope": scope})

    def _write(self, cut: Cut, rows: list[Rows], state: bytes | None) -> bool:
        root = self._root(cut.scope)
        if root is None:
            return False
        records = _records(root, cut, rows, state, self._label)
        return self._writer.submit(records) == len(records)

    def _stored(self, found: Found, n: int, fetched: Fetched | None, needs_state: bool) -> tuple[Stored | None, int]:
        if fetched is None:
            return None, 0
        state = fetched.states[0] if fetched.states else None
        if needs_state and state is None:
            return None, 0
        rows = [
            RowsUse(piece.start, min(piece.n_used, n - piece.start), piece.n_stored, payload)
            for piece, payload in zip(found.pieces, fetched.rows, strict=False)
        ]
        end = rows[-1].start + rows[-1].n_used if rows else 0
        if not self._has_rows:
            return Stored([], state), n
        return (Stored(rows, state), end) if rows else (None, 0)


def _answer(future: Future[T]) -> T | None:
    """What the disk said; a defect on the way is a miss."""
    try:
        return future.result()
    except Exception:
        log.exception("the KV cache could not be asked")
        return None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _records(root: bytes, cut: Cut, rows: list[Rows], state: bytes | None, label: str) -> list[Record]:
    """What was cut, under the names it will be found by."""
    keys = [root, *chain(root, cut.tokens)]

    def record(kind: Kind, start: int, stop: int, payload: Any) -> Record:
        return Record(
            kind=kind,
            root=root,
            parent=keys[start // BLOCK],
            start=start,
            tokens=tuple(cut.tokens[start:stop].tolist()),
            payload=payload,
            owner=cut.owner,
            n_prefilled=max(0, min(cut.prefilled, stop) - start),
            label=label,
        )

    records = [record(Kind.ROWS, row.start, row.start + row.count, row.payload) for row in rows]
    if state is not None:
        start = (cut.n - 1) // BLOCK * BLOCK
        records.append(record(Kind.STATE, start, cut.n, state))
    return records
