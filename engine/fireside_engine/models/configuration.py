"""`config.toml`: what the user decides for the engine, and for single models. Errors name the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fireside_engine.errors import InvalidRequest
from fireside_engine.models import names
from fireside_engine.models.sizes import size_of

FILE_NAME = "config.toml"


def _size(value: object) -> int | None:
    return None if value is None else size_of(value)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSettings(_Table):
    """How one model is loaded. What is not set is chosen for this machine."""

    deterministic: bool | None = Field(default=None, description="Text depends on the request alone, byte for byte.")
    n_ctx: int | None = Field(default=None, ge=256, le=1 << 22, description="Tokens of one conversation.")
    n_slots: int | None = Field(default=None, ge=1, le=64, description="Conversations decoded together.")
    n_threads: int | None = Field(default=None, ge=1, le=1024, description="Threads that compute.")
    draft: str | None = Field(default=None, description="The model that drafts for it: a name, auto or off.")
    kv_type: Literal["f16", "bf16", "q8_0"] | None = Field(default=None, description="Type of the KV cache.")
    cache: bool | None = Field(default=None, description="Keep its KV on disk; otherwise what `cache.enabled` says.")


class CacheSettings(_Table):
    """KV on disk."""

    enabled: bool = Field(default=True, description="Keep KV on disk, so that no token is computed twice.")
    budget: Annotated[int | None, BeforeValidator(_size)] = Field(
        default=None, description="What it may take of the disk; the smaller of 10 GiB and 10 % of what is free."
    )


class RuleSettings(_Table):
    """Which tier always answers prompts that meet every condition that is set."""

    tier: str = Field(description="A tier's name, or small or large.")
    kind: str = Field(
        default="", description="A kind of prompt: code, extraction, rewriting, classification, arithmetic or open."
    )
    contains: str = Field(default="", description="Words that the last message has.")
    longer_than: int = Field(default=0, ge=0, description="Characters of the whole prompt.")
    tools: bool | None = Field(default=None, description="Whether the request brings tools.")


class AutoSettings(_Table):
    """The model name `auto`: several models that answer as one."""

    roster: list[str] = Field(
        default_factory=list,
        max_length=8,
        description="Its models, cheapest first, and names of `remotes`; none: the first pair that models.toml knows.",
    )
    mode: Literal["exact", "balanced", "fast"] = Field(default="balanced", description="How much may stay small.")
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Doubt above which an answer is escalated; otherwise by proof."
    )
    tolerance: float | None = Field(
        default=None, ge=0, le=1, description="What the large model lets pass; otherwise by proof."
    )
    escalate: Literal["verify", "regenerate"] = Field(
        default="verify", description="What becomes of a doubtful answer: it is read and continued, or written anew."
    )
    rules: list[RuleSettings] = Field(default_factory=list, max_length=64, description="What you want always.")
    shadow: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of small answers that the large model gives too, in idle time. Keeps those prompts on disk.",
    )


class RemoteSettings(_Table):
    """An engine elsewhere that speaks OpenAI's API. Used only where `auto.roster` names it."""

    url: str = Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", description="Its base URL, e.g. http://host:8000/v1.")
    model: str = Field(default="", description="The model to ask it for.")
    key_env: str = Field(
        default="", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$|^$", description="The environment variable that has its key."
    )
    timeout: float = Field(default=120.0, gt=0, le=3600, description="Seconds without a word after which it is gone.")
    on_failure: Literal["local", "fail"] = Field(
        default="local", description="When it fails: a local model answers, or the request fails."
    )


class Configuration(_Table):
    """The whole file."""

    model: str = Field(default="", description="The model to ask when none is named and FIRESIDE_MODEL is not set.")
    other_stores: bool = Field(
        default=True, description="Offer models of Ollama, LM Studio and the hub's cache, where they lie."
    )
    deterministic: bool = Field(default=False, description="The same for every model that does not say otherwise.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="KV on disk.")
    auto: AutoSettings = Field(default_factory=AutoSettings, description="Several models that answer as one.")
    remotes: dict[str, RemoteSettings] = Field(
        default_factory=dict, description="Engines elsewhere that `auto.roster` may name."
    )
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="Settings of models, by name.")

    def settings_of(self, spellings: Iterable[str]) -> ModelSettings:
        """Of the model that has these names; letter case does not matter."""
        own = {names.key(name): settings for name, settings in self.models.items()}
        found = next((own[key] for key in map(names.key, spellings) if key in own), ModelSettings())
        general = {"deterministic": self.deterministic or None, "cache": None if self.cache.enabled else False}
        unsaid = {name: value for name, value in general.items() if getattr(found, name) is None}
        return found.model_copy(update=unsaid)


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
