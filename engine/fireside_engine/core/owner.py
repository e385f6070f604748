"""Whose KV something is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose KV it is on disk: what is deleted together."""

    tenant: str = ""
    conversation: str = ""
    """Empty for requests that name none."""
