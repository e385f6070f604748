"""Probes kept on disk: a model is probed once for each build, KV type and number of threads."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from fireside_engine import address
from fireside_engine.core.speculation.costs import Key
from fireside_engine.core.window import Probe

log = logging.getLogger(__name__)

_VERSION = 1


def key(path: Path, *parts: str) -> str:
    """Changes with the file (size and time of change), and with whatever else decides the bits."""
    info = path.stat()
    text = json.dumps([_VERSION, path.name, info.st_size, info.st_mtime_ns, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(directory: Path, name: str) -> Probe | None:
    """None where there is none, or what is there cannot be read: then it is measured again."""
    try:
        data = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        return Probe(
            {int(size): bool(value) for size, value in data["equal"].items()},
            {int(size): float(value) for size, value in data["seconds"].items()},
            bool(data["prefill_equal"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def load_costs(directory: Path, name: str) -> dict[Key, list[float]]:
    """Nothing where there is nothing, or what is there cannot be read."""
    try:
        data = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        return {_cost_key(text): [float(value) for value in values] for text, values in data["ratios"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save_costs(directory: Path, name: str, ratios: dict[Key, list[float]]) -> None:
    """What batches were seen to cost, for the next load."""
    data = {"ratios": {",".join(map(str, key)): values for key, values in ratios.items()}}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        address.write_private(directory / f"{name}.json", json.dumps(data))
    except OSError as error:
        log.warning("the costs of batches could not be kept: %s", error)


def _cost_key(text: str) -> Key:
    depth, streams, rows = map(int, text.split(","))
    return depth, streams, rows


def save(directory: Path, name: str, probe: Probe) -> None:
    """A disk that cannot be written costs the next load a second, and nothing else."""
    data = {"equal": dict(probe.equal), "seconds": dict(probe.seconds), "prefill_equal": probe.prefill_equal}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        address.write_private(directory / f"{name}.json", json.dumps(data))
    except OSError as error:
        log.warning("the probe could not be kept: %s", error)
