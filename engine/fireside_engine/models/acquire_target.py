"""What `fireside pull` was asked for: a name of models.toml, a repository of the hub, or a file. Only words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fireside_engine.errors import InvalidRequest, ModelNotFound
from fireside_engine.models import names
from fireside_engine.models.catalogue_schema import Model
from fireside_engine.models.hub_file import HubModel, Listing

PREFERRED = ("Q4_K_M", "UD-Q4_K_XL", "MXFP4", "Q4_K_S", "IQ4_XS", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "IQ4_NL", "Q4_0")
"""What is taken when neither user nor models.toml says which. Below four bits quality falls and nothing is faster."""

_HUB = re.compile(r"^(?:hf://|hf:|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)(?:models/)?", re.IGNORECASE)
_PART = r"[A-Za-z0-9][\w.-]*"
_REPO = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w./-]+))?(?::(?P<rest>[^:]+))?")
_PAGE = re.compile(rf"(?P<repo>{_PART}/{_PART})/(?:blob|resolve|raw)/(?P<revision>[^/]+)/(?P<rest>.+)")
_INSIDE = re.compile(rf"(?P<repo>{_PART}/{_PART})/(?P<rest>.+\.gguf)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NameTarget:
    """A name for models.toml, maybe with a quantization behind a colon."""

    text: str


@dataclass(frozen=True, slots=True)
class HubTarget:
    """A repository, and what of it."""

    repo: str
    revision: str | None = None
    file: str = ""
    """A file's path in the repository, or its name."""
    quant: str = ""


@dataclass(frozen=True, slots=True)
class PathTarget:
    """A file of this machine."""

    path: Path


Target = NameTarget | HubTarget | PathTarget


def parse_target(text: str, exists: Callable[[Path], bool] = Path.exists) -> Target:
    """What `text` means. ORG/REPO means the hub where no such file exists. Raises InvalidRequest."""
    text = text.strip()
    if not text:
        raise InvalidRequest("No model is named.", hint="For example: fireside pull qwen3-4b")
    if prefix := _HUB.match(text):
        return _hub(text[prefix.end() :].partition("?")[0].strip("/"), text)
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # ~somebody who does not exist
        path = Path(text)
    looks_like_path = os.sep in text or text.lower().endswith(names.SUFFIX)
    if looks_like_path and not exists(path) and not text.startswith(("/", ".", "~")) and _REPO.fullmatch(text):
        return _hub(text, text)
    return PathTarget(path.absolute()) if looks_like_path else NameTarget(text)


def _hub(rest: str, text: str) -> HubTarget:
    found = _REPO.fullmatch(rest) or _PAGE.fullmatch(rest) or _INSIDE.fullmatch(rest)
    if not found:
        raise InvalidRequest(
            f"{names.clean(text)} is no address of a model on the hub.",
            hint="Write hf:OWNER/REPO, hf:OWNER/REPO:QUANT or hf:OWNER/REPO:FILE.gguf.",
        )
    parts = found.groupdict()
    what = parts["rest"] or ""
    is_file = what.lower().endswith(names.SUFFIX)
    return HubTarget(parts["repo"], parts.get("revision"), file=what if is_file else "", quant="" if is_file else what)


def choose(listing: Listing, *, file: str = "", quant: str = "", known: Model | None = None) -> HubModel:
    """The one model of a repository that is meant. Raises ModelNotFound with what there is.

    `known` is the entry of models.toml that led here: only its files count, and its usual quantization is taken.
    """
    models = [model for model in listing.models if known is None or known.matches(model.stem)]
    if not models:
        raise ModelNotFound(
            f"The repository {listing.repo} has no complete GGUF model"
            f"{'' if known is None else ' of the name that models.toml expects'}.",
            hint="Look for a repository whose name ends in -GGUF."
            if known is None
            else f"See what it has with: fireside pull --dry-run hf:{listing.repo}",
            model=listing.repo,
        )
    if file:
        return _by_file(models, file, listing)
    usual = getattr(known.source, "quant", "") if known else ""
    if quant:
        fitting = [model for model in models if model.quant == quant.upper()] or [
            model for model in models if model.quant.removeprefix("UD-") == quant.upper()
        ]
        if not fitting:
            raise _missing(f"{listing.repo} has no {names.clean(quant).upper()}.", models, listing)
    else:
        order = [usual.upper(), *PREFERRED] if usual else list(PREFERRED)
        best = next((wanted for wanted in order if any(model.quant == wanted for model in models)), None)
        fitting = [model for model in models if model.quant == best] if best else models
    if len({model.stem for model in fitting}) > 1:
        raise _missing(f"{listing.repo} has more than one model that is meant by this.", fitting, listing)
    return fitting[0]


def _by_file(models: list[HubModel], file: str, listing: Listing) -> HubModel:
    wanted = names.key(file)
    for model in models:
        if any(wanted in (names.key(part.path), names.key(part.name)) for part in model.files):
            return model
    raise _missing(f"{listing.repo} has no model file {names.clean(file)}.", models, listing)


def _missing(message: str, models: list[HubModel], listing: Listing) -> ModelNotFound:
    quants = [model.quant for model in models]
    if len(set(quants)) == len(quants) and all(quants):
        return ModelNotFound(message, hint=f"It has {', '.join(quants)}.", model=listing.repo, quants=quants)
    shown = [names.clean(model.path) for model in models]
    hint = f"Name the file, hf:{listing.repo}:FILE. It has {', '.join(shown[:12])}{' and more' if shown[12:] else ''}."
    return ModelNotFound(message, hint=hint, model=listing.repo, files=shown)
