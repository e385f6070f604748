"""What `POST /v1/messages` takes. Tolerant as its clients need it: unknown members and blocks are left alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from fireside_engine.server.openai_schema import Extension

_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Int = Annotated[int, Field(strict=True)]


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Turn(_Tolerant):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]] | None = None


class Thinking(_Tolerant):
    type: str = "disabled"
    budget_tokens: _Int | None = None


class Format(_Tolerant):
    type: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class OutputConfig(_Tolerant):
    effort: str | None = None
    format: Format | None = None


class MessagesBody(_Tolerant):
    model: str | None = None
    messages: list[Turn] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    max_tokens: Annotated[_Int, Field(ge=0)] | None = None
    stream: StrictBool | None = None
    temperature: Annotated[_Float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[_Float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[_Int, Field(ge=-1, le=2**31 - 1)] | None = None
    stop_sequences: list[Annotated[str, Field(max_length=1024)]] | None = Field(None, max_length=32)
    tools: list[dict[str, Any]] | None = Field(None, max_length=1024)
    tool_choice: dict[str, Any] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    fireside: Extension | None = None
