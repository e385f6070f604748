"""What an evaluation found on the user's own prompts for one roster, and the thresholds it allows. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fireside_engine.core.routing.features import KINDS
from fireside_engine.core.routing.roster import CAUTIOUS, Mode, Roster, Thresholds
from fireside_engine.errors import InvalidRequest

VERSION = 1


@dataclass(frozen=True, slots=True)
class Proof:
    """Of the roster with these identities only."""

    id: str
    identities: tuple[str, ...]
    made: str
    n: int
    """Prompts that were judged."""
    thresholds: Mapping[str, Thresholds]
    """By mode; a mode of which nothing may be concluded is missing."""
    body: Mapping[str, Any]
    """All of it, as it came."""

    def fits(self, roster: Roster) -> bool:
        return self.identities == roster.identities

    def of(self, mode: Mode) -> Thresholds | None:
        return self.thresholds.get(mode)


def read_proof(body: Mapping[str, Any]) -> Proof:
    """Members it does not know are kept. Raises InvalidRequest with the member at fault."""
    if body.get("version") != VERSION:
        raise _wrong("version", f"must be {VERSION}")
    identities = body.get("identities")
    if not isinstance(identities, list) or len(identities) < 2 or not all(isinstance(i, str) and i for i in identities):
        raise _wrong("identities", "must be the identities of two tiers or more, as GET /fireside/routing tells them")
    n = body.get("n")
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise _wrong("n", "must be the number of prompts that were judged")
    thresholds = body.get("thresholds") or {}
    if not isinstance(thresholds, dict):
        raise _wrong("thresholds", "must be an object")
    read = {
        mode: _thresholds(mode, thresholds[mode])
        for mode in ("balanced", "fast")
        if isinstance(thresholds.get(mode), dict)
    }
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Proof(name, tuple(identities), str(body.get("made", "")), n, read, body)


def thresholds_for(mode: Mode, proof: Proof | None) -> tuple[Thresholds, str]:
    """What a mode bears, and on what grounds, in words."""
    if mode == "exact":
        return CAUTIOUS[mode], "exact"
    found = proof.of(mode) if proof is not None else None
    if proof is None:
        return CAUTIOUS[mode], "no proof yet, so it is cautious"
    if found is None:
        return CAUTIOUS[mode], f"the proof of {proof.n} prompts allows no threshold, so it is cautious"
    return found, f"by the proof of {proof.n} prompts"


def _thresholds(mode: str, body: Mapping[str, Any]) -> Thresholds:
    where = f"thresholds.{mode}"
    kinds: Sequence[tuple[str, float]] = ()
    if isinstance(given := body.get("kinds"), dict):
        kinds = [(kind, _share(value, f"{where}.kinds.{kind}")) for kind, value in given.items() if kind in KINDS]
    return Thresholds(
        _share(body.get("threshold"), f"{where}.threshold"),
        _share(body.get("tolerance", 0.0), f"{where}.tolerance"),
        tuple(kinds),
    )


def _share(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise _wrong(where, "must be a number from 0 to 1")
    return float(value)


def _wrong(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: {why}.", param=where)
