"""`config.toml`: what the user decides for the engine, and for single models. Errors name the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fireside_engine.errors import InvalidRequest
from fireside_engine.models import names

FILE_NAME = "config.toml"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSettings(_Table):
    """How one model is loaded. What is not set is chosen for this machine."""

    deterministic: bool | None = Field(default=None, description="Text depends on the request alone, byte for byte.")
    n_ctx: int | None = Field(default=None, ge=256, le=1 << 22, description="Tokens of one conversation.")
    n_slots: int | None = Field(default=None, ge=1, le=64, description="Conversations decoded together.")
    n_threads: int | None = Field(default=None, ge=1, le=1024, description="Threads that compute.")
    kv_type: Literal["f16", "bf16", "q8_0"] | None = Field(default=None, description="Type of the KV cache.")


class Configuration(_Table):
    """The whole file."""

    model: str = Field(default="", description="The model to ask when none is named and FIRESIDE_MODEL is not set.")
    other_stores: bool = Field(
        default=True, description="Offer models of Ollama, LM Studio and the hub's cache, where they lie."
    )
    deterministic: bool = Field(default=False, description="The same for every model that does not say otherwise.")
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="Settings of models, by name.")

    def settings_of(self, spellings: Iterable[str]) -> ModelSettings:
        """Of the model that has these names; letter case does not matter."""
        own = {names.key(name): settings for name, settings in self.models.items()}
        found = next((own[key] for key in map(names.key, spellings) if key in own), ModelSettings())
        return (
            found
            if found.deterministic is not None
            else found.model_copy(update={"deterministic": self.deterministic or None})
        )


def load_configuration(path: Path | None) -> Configuration:
    """An empty one when there is no file. Raises InvalidRequest naming file and key."""
    if path is None or not path.is_file():
        return Configuration()
    try:
        return Configuration.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: this file cannot be read as TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{path}: {where}: {first['msg']}.") from error
