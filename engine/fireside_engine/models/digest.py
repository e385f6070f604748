"""What a model's files contain, as one hash; computed once for each version of a file.

KV belongs to weights, so its name on disk begins with this. Reading a large model takes a while: the result is kept,
under everything that changes when the file does.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from fireside_engine import address
from fireside_engine.models import names

log = logging.getLogger(__name__)

_VERSION = 1
_CHUNK = 4 << 20


def content_digest(path: Path, directory: Path, is_new: Callable[[], None] = lambda: None) -> str:
    """SHA-256 over all files of a model, as hex digits.

    path: of a split model, its first part. directory: where results are kept. is_new: called when there is none yet,
    before the files are read. Raises OSError when a file cannot be read.
    """
    paths: tuple[Path, ...] = (path,)
    if shard := names.shard_of(path.name):
        paths = names.shard_paths(path, shard[1])
    kept = directory / f"{_identity(paths)}.json"
    try:
        digest = json.loads(kept.read_text(encoding="utf-8"))["sha256"]
        if isinstance(digest, str) and len(digest) == 64:
            return digest
    except (OSError, ValueError, KeyError, TypeError):
        log.debug("%s is hashed anew", names.clean(path.name))
    is_new()
    whole = hashlib.sha256()
    for part in paths:
        one = hashlib.sha256()
        with part.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                one.update(chunk)
        whole.update(one.digest())
    digest = whole.hexdigest()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        address.write_private(kept, json.dumps({"name": path.name, "sha256": digest}))
    except OSError as error:
        log.warning("the hash of %s could not be kept: %s", names.clean(path.name), error)
    return digest


def _identity(paths: tuple[Path, ...]) -> str:
    stats = [path.stat() for path in paths]
    facts = [[s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for s in stats]
    return hashlib.sha256(json.dumps([_VERSION, facts]).encode()).hexdigest()[:32]
