"""What models.toml knows, installed or not, for lists that people choose from: `fireside models search`, first runs."""

from __future__ import annotations

from dataclasses import dataclass

from fireside_engine.models import names
from fireside_engine.models.catalogue import Catalogue
from fireside_engine.models.catalogue_schema import HubSource, Model, PackageSource, Role
from fireside_engine.models.hub_file import quant_in

_BITS = {
    "F32": 32.0, "BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.7, "Q5_K_S": 5.57, "Q4_K_M": 4.89,
    "Q4_1": 5.0, "Q4_K_S": 4.67, "Q4_0": 4.5, "IQ4_XS": 4.46, "MXFP4": 4.25,
}  # fmt: skip
"""Bits of a weight, from the table of llama.cpp's tools/quantize/README for Llama-3.1-8B; MXFP4 by its definition."""
_USUAL_BITS = 4.89


@dataclass(frozen=True, slots=True)
class Known:
    """One model of models.toml."""

    name: str
    title: str
    """Of its family."""
    description: str
    parameters: int | None
    active_parameters: int | None
    context: int | None
    roles: tuple[Role, ...]
    licence: str
    confirmed: bool
    quant: str
    """That is taken when nobody asks for another."""
    size: int | None
    """Bytes of the file, roughly: parameters by bits of a weight. The hub knows it exactly."""
    source: str
    """Repository, package or path."""
    installed: bool


def list_known(catalogue: Catalogue, query: str = "") -> list[Known]:
    """In the order of models.toml; those that have every word of `query` in name, family, description or roles."""
    toml = catalogue.toml
    there = {entry.details.get("catalogue") for entry in catalogue.list()}
    words = names.key(query).split()
    found = []
    for name, model in toml.models.items():
        family = toml.families.get(model.family)
        title = family.title if family else model.family
        text = names.key(" ".join([name, *model.aliases, title, model.description, *model.roles]))
        if all(word in text for word in words):
            found.append(_known(name, title, model, installed=name in there))
    return found


def _known(name: str, title: str, model: Model, *, installed: bool) -> Known:
    quant = _quant(model)
    bits = _BITS.get(quant.upper().removeprefix("UD-"), _USUAL_BITS)
    return Known(
        name,
        title,
        model.description,
        model.parameters,
        model.active_parameters,
        model.context,
        model.roles,
        model.licence,
        model.confirmed,
        quant,
        round(model.parameters * bits / 8) if model.parameters else None,
        _source(model),
        installed,
    )


def _quant(model: Model) -> str:
    match model.source:
        case HubSource(quant=quant):
            return quant
        case PackageSource(file=file):
            return quant_in(names.stem(file))
    return ""


def _source(model: Model) -> str:
    match model.source:
        case HubSource(repo=repo):
            return f"hf:{repo}"
        case PackageSource(package=package):
            return f"package {package}"
    return str(model.source.path)
