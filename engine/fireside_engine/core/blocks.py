"""KV blocks: how a prompt is cut for the disk."""

from __future__ import annotations

BLOCK = 256
"""Tokens of a block."""
