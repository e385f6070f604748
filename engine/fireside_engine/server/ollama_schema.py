"""What Ollama's endpoints take. Options that name no parameter of ours are ignored, as Ollama ignores unknown ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from fireside_engine.server.body_shapes import DURATION
from fireside_engine.server.openai_schema import seconds


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


def _with_name(schema: dict[str, Any]) -> None:
    """Into the document, what the validator reads."""
    schema["properties"]["name"] = {"type": "string", "description": "The same as `model`."}


class NameBody(_Tolerant):
    """`model`, or `name` as older clients have it."""

    model_config = ConfigDict(json_schema_extra=_with_name)

    model: str = ""
    stream: StrictBool | None = None

    @model_validator(mode="before")
    @classmethod
    def _either_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("model"):
            return {**value, "model": value.get("name") or ""}
        return value


class Function(_Tolerant):
    name: str
    arguments: object = None


class ToolCall(_Tolerant):
    id: str | None = None
    function: Function


class Turn(_Tolerant):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Generation(NameBody):
    options: dict[str, Any] | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    keep_alive: Annotated[float | None, DURATION] = None
    think: StrictBool | str | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return None if value is None else seconds(value)


class ChatBody(_Generation):
    messages: list[Turn] | None = None
    tools: list[dict[str, Any]] | None = Field(None, max_length=1024)


class GenerateBody(_Generation):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[Any] | None = None
    """Refused where there is one: an answer without its past would be a wrong one."""
    images: list[Any] | None = None
    raw: StrictBool | None = None
