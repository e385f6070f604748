"""What is there now, under which names: the files found, named so that no two share a name, and looked up by name.

A snapshot: made anew for every question, from names and sizes alone. Names are the only way in; a name is compared with
what was found, never turned into a path.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fireside_engine.models import names
from fireside_engine.models.catalogue_schema import CatalogueFile, HubSource, PackageSource, PathSource
from fireside_engine.models.discovery import ModelFile, find_models, stat_model
from fireside_engine.models.other_stores import Foreign
from fireside_engine.models.starter import find_in_package

Source = Literal["catalogue", "folder", "registered", "ollama", "lm-studio", "hub-cache"]
FOREIGN: tuple[Source, ...] = ("ollama", "lm-studio", "hub-cache")
"""Those of other programs."""
_LIKE_ENOUGH = 0.6


@dataclass(frozen=True, slots=True)
class Row:
    """One model that is there."""

    name: str
    file: ModelFile
    source: Source
    known_as: str = ""
    """Its name in models.toml."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All models that are there, and those that models.toml knows besides."""

    toml: CatalogueFile
    rows: tuple[Row, ...]

    def find(self, name: str) -> tuple[Row, ...]:
        """What a name may mean, best first: the model so named, or the files of the model that models.toml so names.

        NAME:QUANT names one quantization of a model of models.toml.
        """
        key = names.key(name)
        if own := tuple(row for row in self.rows if names.key(row.name) == key):
            return own
        if known := self.toml.find(name):
            return self.files_of(known[0])
        base, _, quant = name.rpartition(":")
        if known := self.toml.find(base):
            own_name, model = known
            return tuple(
                row for row in self.files_of(own_name) if model.quant_of(row.file.stem) == quant.strip().casefold()
            )
        return ()

    def files_of(self, known_as: str) -> tuple[Row, ...]:
        """The files of a model of models.toml: the usual quantization first, then the largest."""
        model = self.toml.models[known_as]
        usual = model.source.quant.casefold() if isinstance(model.source, HubSource) else ""
        own = [row for row in self.rows if row.known_as == known_as]
        return tuple(sorted(own, key=lambda row: (model.quant_of(row.file.stem) != usual, -row.file.size)))

    def by_preference(self) -> Iterator[Row]:
        """What to use when nobody names a model: models.toml in its order, the folder by name, then the starter, and
        last what only other programs know."""
        starters = [name for name, model in self.toml.models.items() if model.starter]
        for name in self.toml.models:
            if name not in starters:
                yield from self.files_of(name)
        yield from sorted((row for row in self.rows if row.source == "folder"), key=lambda row: names.key(row.name))
        for name in starters:
            yield from self.files_of(name)
        yield from (row for row in self.rows if row.source in FOREIGN and not row.known_as)

    def similar(self, name: str) -> list[str]:
        """Up to three names that may have been meant, those of models that are there first."""
        wanted = names.key(name)
        there = dict.fromkeys(row.name for row in self.rows)
        scored = [
            (score, known not in there, known)
            for known in there | dict.fromkeys(self.toml.models)
            if (score := _likeness(wanted, names.key(known))) >= _LIKE_ENOUGH
        ]
        return [known for _, _, known in sorted(scored, key=lambda found: (found[1], -found[0], found[2]))[:3]]


def take_inventory(
    models_dir: Path, toml: CatalogueFile, registered: Iterable[Row], foreign: Iterable[Foreign] = ()
) -> Inventory:
    """Look at what is there. A registered file keeps its name; then a file in the folder has the right to its stem; a
    file of another program is listed where it is not listed otherwise."""
    taken: set[str] = set()
    rows = []
    for row in registered:
        if file := _stat(row.file.path):
            rows.append(replace(row, file=file))
            taken.add(names.key(row.name))
    for file in find_models(models_dir):
        known_as = toml.recognise(file.stem)
        name = unique_name(file.stem, file.path, taken)
        rows.append(Row(name, file, "catalogue" if known_as else "folder", known_as))
    for known_as, path in _placed(toml):
        if file := _stat(path):
            rows.append(Row(unique_name(known_as, path, taken), file, "catalogue", known_as))
    seen = {row.file.path.resolve() for row in rows}
    for other in foreign:
        real = other.path.resolve()
        if real not in seen and (file := _stat(other.path)):
            seen.add(real)
            rows.append(Row(unique_name(other.name, other.path, taken), file, other.store, toml.recognise(file.stem)))
    return Inventory(toml, tuple(rows))


def unique_name(stem: str, path: Path, taken: set[str]) -> str:
    """`stem` made fit to show, told apart by a hash of the path where it is taken; marks it as taken."""
    base = names.clean(stem) or "model"
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    name = next(name for name in (base, f"{base}@{digest[:8]}", f"{base}@{digest}") if names.key(name) not in taken)
    taken.add(names.key(name))
    return name


def _stat(path: Path) -> ModelFile | None:
    """None when the file is gone, which files may be at any time."""
    try:
        return stat_model(path) if path.is_file() else None
    except OSError:
        return None


def _placed(toml: CatalogueFile) -> Iterator[tuple[str, Path]]:
    """Where models of models.toml lie outside the models folder."""
    for name, model in toml.models.items():
        if isinstance(model.source, PackageSource):
            if path := find_in_package(model.source.package, model.source.file):
                yield name, path
        elif isinstance(model.source, PathSource):
            yield name, model.source.path.expanduser().absolute()


def _likeness(wanted: str, known: str) -> float:
    """0 to 1. The beginning of a name counts as much as all of it: people leave out the end."""
    if len(wanted) > 2 and wanted in known:
        return 1.0
    return max(difflib.SequenceMatcher(None, wanted, part).ratio() for part in (known, known[: len(wanted) + 1]))
