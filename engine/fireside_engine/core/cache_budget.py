"""How much of a disk the KV cache may take. Pure."""

from __future__ import annotations

GIB = 1024**3

LARGEST_DEFAULT = 10 * GIB
SHARE_OF_FREE = 10
"""The default budget is one part in this many of what is free."""


def default_budget(free: int, held: int) -> int:
    """Bytes, where the user names none: the smaller of 10 GiB and 10 % of the disk that is free or already the cache's.

    free: bytes that a user may still write; held: bytes of the cache.
    """
    return min(LARGEST_DEFAULT, (free + held) // SHARE_OF_FREE)


def reserve(size: int) -> int:
    """Bytes of a disk of `size` bytes that the cache leaves free whatever its budget: 2 GiB, or 5 % up to 10 GiB."""
    return max(2 * GIB, min(size // 20, 10 * GIB))


def limit(budget: int, held: int, free: int, kept_free: int) -> int:
    """What the cache may hold now. Where others fill the disk it gives way, down to nothing."""
    return max(0, min(budget, held + free - kept_free))
