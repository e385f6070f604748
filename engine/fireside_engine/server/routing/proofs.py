"""Proofs on disk, one for each roster: JSON that `fireside prove` made. Reads and writes files: to be called in
threads."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fireside_engine import address, errors
from fireside_engine.core.routing.proof import Proof, read_proof
from fireside_engine.core.routing.roster import Roster

log = logging.getLogger(__name__)

FOLDER = "proofs"


class Proofs:
    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[int, Proof | None]] = {}

    def of(self, roster: Roster) -> Proof | None:
        """None where there is none, or one that cannot be read."""
        path = self._path(roster.identities)
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        if (known := self._read.get(path)) is None or known[0] != changed:
            known = self._read[path] = (changed, _load(path))
        proof = known[1]
        return proof if proof is not None and proof.fits(roster) else None

    def put(self, body: Mapping[str, Any], roster: Roster) -> Proof:
        """Raises InvalidRequest for one that is malformed, or of another roster."""
        proof = read_proof(body)
        if not proof.fits(roster):
            raise errors.InvalidRequest(
                "identities: this proof is of other models than the roster has now.",
                hint="Run `fireside prove` again.",
                param="identities",
            )
        path = self._path(proof.identities)
        address.make_private(path.parent)
        address.write_private(path, json.dumps(body, ensure_ascii=False, indent=1))
        return proof

    def forget(self, roster: Roster) -> bool:
        """False where there is none."""
        path = self._path(roster.identities)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    def _path(self, identities: tuple[str, ...]) -> Path:
        name = hashlib.sha256("\n".join(identities).encode()).hexdigest()[:24]
        return (self._folder or address.data_dir() / FOLDER) / f"{name}.json"


def _load(path: Path) -> Proof | None:
    try:
        return read_proof(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, errors.InvalidRequest) as error:
        log.warning("%s is no proof: %s", path.name, error)
        return None
