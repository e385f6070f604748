"""What the catalogue tells of a model file, read once per version of the file.

Nothing here fails: a listing must show a broken file as broken, not break. The error is kept, for whoever wants to use
the file after all.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fireside_engine.errors import FiresideError, NotAModel
from fireside_engine.models import names
from fireside_engine.models.discovery import ModelFile
from fireside_engine.models.gguf import Header, read_header

_COMPANIONS = MappingProxyType(
    {
        "adapter": "a LoRA adapter, which changes another model",
        "mmproj": "an image or audio encoder (mmproj), which belongs to another model",
        "imatrix": "an importance matrix, which helps to quantize another model",
        "controlvector": "a control vector, which steers another model",
    }
)


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a file."""

    details: dict[str, Any]
    """JSON values; `error` in words when the file cannot be used."""
    error: FiresideError | None = None
    embedding_only: bool = False


class Describer:
    """Reads headers and remembers what they said, for as long as path, size and time of change stay. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[ModelFile, Described]] = {}

    def describe(self, file: ModelFile) -> Described:
        with self._lock:
            known = self._known.get(file.path)
        if known and known[0] == file:
            return known[1]
        described = _read(file.path)
        with self._lock:
            self._known[file.path] = (file, described)
        return described

    def forget_errors(self) -> None:
        """Look again at what could not be read: its owner may have allowed it since, which changes no time stamp."""
        with self._lock:
            self._known = {path: known for path, known in self._known.items() if not known[1].error}


def _read(path: Path) -> Described:
    try:
        header = read_header(path)
        _require_model(path, header)
    except FiresideError as error:
        return Described({"error": str(error)}, error)
    details = {
        "architecture": names.clean(header.architecture),
        "quant": header.quant,
        "n_ctx_train": header.n_ctx_train,
        "n_params": header.n_params,
        "n_vocab": header.n_vocab,
        "tokenizer": names.clean(header.tokenizer),
        "prediction_heads": header.prediction_heads,
        "has_template": bool(header.chat_template),
        "roles": _roles(header),
    }
    return Described(details, embedding_only=header.is_embedding_only)


def _require_model(path: Path, header: Header) -> None:
    shown = names.clean(path.name)
    if what := _COMPANIONS.get(header.kind):
        raise NotAModel(f"{shown} is {what}.")
    if not header.architecture:
        raise NotAModel(f"{shown} does not say which architecture its model has.", hint="Download it again.")


def _roles(header: Header) -> list[str]:
    if header.is_embedding_only:
        return ["embedding"]
    return [role for role, has in (("chat", bool(header.chat_template)), ("fim", header.has_fim)) if has]
