"""How model files are called: names fit to show and to compare, and the parts of a split file.

File names and metadata come from strangers. What is shown has no control, formatting or invisible characters, so a
name can neither steer a terminal nor pass for another; what is compared ignores case and Unicode's spellings.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

SUFFIX = ".gguf"
MAX_SHOWN = 200

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)


def clean(text: str) -> str:
    """`text` fit to show on one line: no control, bidirectional or unassigned characters, at most `MAX_SHOWN` long."""
    seen = "".join(_seen(character) for character in text[: 4 * MAX_SHOWN])
    return unicodedata.normalize("NFC", seen).strip()[:MAX_SHOWN].strip()


def _seen(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "" if category in _HIDDEN else character


def key(name: str) -> str:
    """What two names have in common when they mean the same model."""
    return unicodedata.normalize("NFC", clean(name).casefold())


def stem(file_name: str) -> str:
    """The name of the model in a file: without suffix, and without the part number of a split file."""
    if shard := _SHARD.fullmatch(file_name):
        return shard["stem"]
    return file_name[: -len(SUFFIX)] if file_name.lower().endswith(SUFFIX) else file_name


def shard_of(file_name: str) -> tuple[int, int] | None:
    """(number from 1, count) when the file is one part of a split model, else None."""
    if shard := _SHARD.fullmatch(file_name):
        return int(shard["number"]), int(shard["count"])
    return None


def shard_paths(path: Path, count: int) -> tuple[Path, ...]:
    """All parts of the split model of which `path` is one."""
    base, suffix = stem(path.name), path.name[-len(SUFFIX) :]
    return tuple(path.with_name(f"{base}-{number:05d}-of-{count:05d}{suffix}") for number in range(1, count + 1))


def readable_bytes(n: int) -> str:
    """e.g. "98 bytes", "93.8 MiB"."""
    if n < 1024:
        return "1 byte" if n == 1 else f"{n} bytes"
    value, unit = n / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"
