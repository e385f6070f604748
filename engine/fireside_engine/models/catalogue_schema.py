"""`models.toml`: which models fireside knows by name, where each comes from and what it is for.

The file that ships with fireside names models whose source and licence were looked up; the user's own file of the same
name, in the configuration folder, adds models and changes single keys. Errors name the file and the key.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import fireside_engine
from fireside_engine.errors import InternalError, InvalidRequest
from fireside_engine.models import names

FILE_NAME = "models.toml"
QUANT = "{quant}"
_QUANT_PATTERN = r"(?P<quant>(?:ud-)?(?:i?q\d[a-z0-9_]*|tq\d_\d|bf16|f16|f32|mxfp4(?:_moe)?|nvfp4))"

Role = Literal["chat", "code", "fim", "embedding", "thinking", "tools"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
FileName = Annotated[str, Field(pattern=r"^[^/\\]+\.gguf$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubSource(_Table):
    """A repository of the Hugging Face hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", description="The repository, OWNER/NAME.")
    file: FileName = Field(description="Name of its model file; {quant} stands for the quantization.")
    quant: str = Field("", description="The quantization to take when several are there and nobody asks for another.")


class PackageSource(_Table):
    """A Python package that carries the file."""

    kind: Literal["package"]
    package: str = Field(pattern=r"^[A-Za-z_]\w*$", description="Name of the package as it is imported.")
    file: FileName = Field(description="Name of the model file inside the package.")
    install: str = Field(description="The command that installs the package.")


class PathSource(_Table):
    """A file that lies on this machine already, e.g. in another program's folder."""

    kind: Literal["path"]
    path: Path = Field(description="Where the file lies; ~ is the home folder.")


class Family(_Table):
    """Models that were trained together."""

    title: str = Field(description="Name of the family as its makers write it.")
    publisher: str = Field(description="Who trained it.")
    licence_source: str = Field("", description="Where the licence of its models is stated.")


class Model(_Table):
    """One model; its quantizations are files of the same model."""

    family: str = Field("", description="The family it belongs to, a key of [families].")
    aliases: tuple[Name, ...] = Field((), description="Other names it answers to.")
    description: str = Field("", description="One line on what it is good for.")
    parameters: int | None = Field(None, gt=0, description="Number of its parameters.")
    active_parameters: int | None = Field(
        None, gt=0, description="Parameters that compute one token, where experts make them fewer."
    )
    context: int | None = Field(None, gt=0, description="Tokens of context it was trained for.")
    licence: str = Field("unknown", min_length=1, description="Licence of the weights, as an SPDX identifier.")
    source: Annotated[HubSource | PackageSource | PathSource, Field(discriminator="kind")] = Field(
        description="Where its file comes from: a hub repository, a Python package, or a path."
    )
    roles: tuple[Role, ...] = Field(("chat",), description="What it is for.")
    small: str = Field("", description="The smaller model that answers first when both answer as one.")
    draft: str = Field("", description="The smaller model, of the same vocabulary, that drafts for it.")
    starter: bool = Field(False, description="It is there from the start, and the last that is chosen unasked.")
    confirmed: bool = Field(False, description="Whether repository, file name and licence were looked up.")
    evidence: str = Field("", description="Where they were found.")

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if isinstance(self.source, PathSource):
            return None
        before, quant, after = names.key(names.stem(self.source.file)).partition(QUANT)
        return re.compile(re.escape(before) + (_QUANT_PATTERN if quant else "") + re.escape(after))

    def matches(self, stem: str) -> bool:
        """Whether a file of that stem is this model. Letter case does not matter."""
        return self._pattern is not None and self._pattern.fullmatch(names.key(stem)) is not None

    def quant_of(self, stem: str) -> str:
        """The quantization that the stem of a file of this model names, in small letters; "" if it names none."""
        match = self._pattern.fullmatch(names.key(stem)) if self._pattern else None
        return match.groupdict().get("quant") or "" if match else ""


class CatalogueFile(_Table):
    """The whole file. The order of the models is the order of preference when nobody names one."""

    families: dict[Name, Family] = Field(default_factory=dict)
    models: dict[Name, Model] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_agree(self) -> CatalogueFile:
        owners = {name: name for name in self.models}
        for name, model in self.models.items():
            for alias in model.aliases:
                if owners.setdefault(alias, name) != name:
                    raise ValueError(f"models.{name}.aliases: {alias} is also a name of {owners[alias]}")
            for field in ("small", "draft"):
                partner = getattr(model, field)
                if partner and (partner not in self.models or partner == name):
                    raise ValueError(f"models.{name}.{field}: there is no other model {partner}")
            if model.family and model.family not in self.families:
                raise ValueError(f"models.{name}.family: there is no family {model.family}")
        return self

    def find(self, name: str) -> tuple[str, Model] | None:
        """The model of that name or alias."""
        wanted = names.key(name)
        for own, model in self.models.items():
            if wanted == own or wanted in model.aliases:
                return own, model
        return None

    def recognise(self, stem: str) -> str:
        """The name of the model that a file of that stem holds, or ""."""
        return next((name for name, model in self.models.items() if model.matches(stem)), "")


def catalogue_path() -> Path:
    """The file that ships with fireside: inside the package, or in the repository of an editable install."""
    package = Path(fireside_engine.__file__).parent
    for path in (package / FILE_NAME, package.parent.parent / FILE_NAME):
        if path.is_file():
            return path
    raise InternalError(f"{FILE_NAME} is missing from this installation.", hint="Install fireside again.")


def load_catalogue(packaged: Path, user_file: Path | None = None) -> CatalogueFile:
    """The catalogue, with the user's file laid over it if there is one. Raises InvalidRequest naming file and key."""
    tables = _read(packaged)
    catalogue = _validate(tables, FILE_NAME)
    if user_file is None or not user_file.is_file():
        return catalogue
    own = _read(user_file)
    for section in own:
        if section not in CatalogueFile.model_fields:
            raise InvalidRequest(f"{user_file}: {section}: there is no such table; there are families and models.")
    return _validate(_overlay(tables, own), str(user_file))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{path}: this is not valid TOML: {error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: this is not UTF-8 text.") from error
    except OSError as error:
        raise InvalidRequest(f"{path}: this file cannot be read: {error.strerror}.") from error


def _overlay(below: dict[str, Any], above: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Keys of `above` win. Tables are joined down to a model's own keys; a source is replaced as a whole."""
    joined = dict(below)
    for name, value in above.items():
        under = below.get(name)
        if depth < 2 and isinstance(under, dict) and isinstance(value, dict):
            value = _overlay(under, value, depth + 1)
        joined[name] = value
    return joined


def _validate(tables: dict[str, Any], shown: str) -> CatalogueFile:
    try:
        return CatalogueFile.model_validate(tables)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        if "source" in where:
            del where[where.index("source") + 1 : where.index("source") + 2]  # which of the three kinds pydantic tried
        if first["type"] == "value_error":
            raise InvalidRequest(f"{shown}: {first['msg'].removeprefix('Value error, ')}.") from error
        others = error.error_count() - 1
        more = f" ({others} more errors after it)" if others else ""
        raise InvalidRequest(f"{shown}: {'.'.join(where)}: {first['msg']}.{more}") from error
