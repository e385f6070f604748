"""Whose KV something is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose KV it is on disk: what is deleted together."""

    tenant: str = ""
    conversation: str = ""
    """Empty for requests that name none."""


def scope_of(tenant: str) -> bytes:
    """KV is shared within it."""
    return hashlib.blake2b(tenant.encode(), digest_size=16, person=b"fireside scope").digest()
