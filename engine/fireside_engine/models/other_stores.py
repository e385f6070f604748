"""Models that other programs of this user keep: Ollama, LM Studio, the cache of the Hugging Face hub.

They are offered where they lie and only read: nothing here writes, locks or creates anything, and a store that is
missing, unreadable or of an unknown form has no models. Where stores lie is what their programs document, environment
variables included.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fireside_engine.models import names
from fireside_engine.models.discovery import find_models

Store = Literal["ollama", "lm-studio", "hub-cache"]

_OLLAMA_SYSTEM = (Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/.ollama/models"))
"""Where its service keeps models when it runs as a user of its own."""
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_DEFAULT = ("registry.ollama.ai", "ollama.com")
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_MAX_MANIFEST = 1024 * 1024
_COMPANION = "mmproj"


@dataclass(frozen=True, slots=True)
class Foreign:
    """One model of another program."""

    name: str
    """As that program calls it, or the stem of its file."""
    path: Path
    """Of a split model, its first part."""
    store: Store


def find_foreign(environ: Mapping[str, str], home: Path) -> list[Foreign]:
    """All of them, in a fixed order."""
    found = [*_ollama(environ, home), *_lm_studio(home), *_hub_cache(environ, home)]
    return [foreign for foreign in found if _COMPANION not in foreign.path.name.lower()]


def advice(store: str, name: str) -> str:
    """How its owner would remove such a model."""
    return {
        "ollama": f"Ollama keeps it: `ollama rm {name}` removes it.",
        "lm-studio": "LM Studio keeps it: remove it there, under My Models.",
        "hub-cache": "It lies in the cache of the Hugging Face hub: `hf cache` looks after that.",
    }.get(store, "")


# --- Ollama: manifests name blobs by their checksums


def _ollama(environ: Mapping[str, str], home: Path) -> Iterator[Foreign]:
    own = environ.get("OLLAMA_MODELS")
    for root in (Path(own).expanduser(),) if own else (home / ".ollama" / "models", *_OLLAMA_SYSTEM):
        # A later Ollama keeps manifests of a second form beside the first; what they say of layers is the same.
        for manifests in _sorted(root, "manifest*"):
            for path in _sorted(manifests, "*/*/*/*"):
                if blob := _ollama_blob(root, path):
                    yield Foreign(_ollama_name(path.relative_to(manifests).parts), blob, "ollama")


def _ollama_name(parts: tuple[str, ...]) -> str:
    """host, namespace, model, tag as `ollama list` shows them."""
    host, namespace, model, tag = parts
    name = model if namespace == "library" else f"{namespace}/{model}"
    name = name if host in _OLLAMA_DEFAULT else f"{host}/{namespace}/{model}"
    return name if tag == "latest" else f"{name}:{tag}"


def _ollama_blob(root: Path, manifest: Path) -> Path | None:
    """The file with the weights, where there is exactly one and it is there."""
    layers = _json(manifest).get("layers")
    models = [
        layer
        for layer in (layers if isinstance(layers, list) else [])
        if isinstance(layer, dict) and layer.get("mediaType") == _OLLAMA_MODEL
    ]
    if len(models) != 1 or not (digest := _DIGEST.fullmatch(str(models[0].get("digest")))):
        return None
    blob = root / "blobs" / f"sha256-{digest[1]}"
    return blob if _is_file(blob) else None


# --- LM Studio: PUBLISHER/REPOSITORY/FILE.gguf


def _lm_studio(home: Path) -> Iterator[Foreign]:
    seen = set()
    for root in _lm_studio_roots(home):
        setting = _json(root / "settings.json").get("downloadsFolder")
        folder = Path(setting) if isinstance(setting, str) and setting else root / "models"
        if folder in seen or not folder.is_absolute():
            continue
        seen.add(folder)
        for file in find_models(folder):
            yield Foreign(file.stem, file.path, "lm-studio")


def _lm_studio_roots(home: Path) -> Iterator[Path]:
    try:
        pointed = (home / ".lmstudio-home-pointer").read_text(encoding="utf-8")[:4096].strip()
    except (OSError, UnicodeDecodeError):
        pointed = ""
    if pointed:
        yield Path(pointed)
    yield home / ".lmstudio"
    yield home / ".cache" / "lm-studio"


# --- the hub's cache: models--OWNER--NAME/snapshots/COMMIT/FILE, links to blobs


def _hub_cache(environ: Mapping[str, str], home: Path) -> Iterator[Foreign]:
    for repo in _sorted(_hub_cache_folder(environ, home), "models--*"):
        commit = _main_commit(repo)
        snapshots = [path for path in _sorted(repo / "snapshots", "*") if not commit or path.name == commit]
        for snapshot in snapshots[-1:]:
            for path in (*_sorted(snapshot, "*.gguf"), *_sorted(snapshot, "*/*.gguf")):
                number, _ = names.shard_of(path.name) or (1, 1)
                if number == 1 and _is_file(path) and path.resolve().is_relative_to(repo.resolve()):
                    yield Foreign(names.stem(path.name), path, "hub-cache")


def _hub_cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := environ.get(variable):
            return Path(os.path.expandvars(value)).expanduser()
    if value := environ.get("HF_HOME"):
        return Path(os.path.expandvars(value)).expanduser() / "hub"
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else home / ".cache") / "huggingface" / "hub"


def _main_commit(repo: Path) -> str:
    try:
        return (repo / "refs" / "main").read_text(encoding="utf-8")[:64].strip()
    except (OSError, UnicodeDecodeError):
        return ""


# --- files of strangers


def _sorted(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_MANIFEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:
        return False
