"""What `POST /v1/responses` takes. Items and tools of kinds that are not known here are left alone, never refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from fireside_engine.server.openai_schema import Extension

_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Int = Annotated[int, Field(strict=True)]


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Reasoning(_Tolerant):
    effort: str | None = None
    summary: str | None = None


class Format(_Tolerant):
    type: str = "text"
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class TextOptions(_Tolerant):
    format: Format | None = None
    verbosity: str | None = None


class ResponsesBody(_Tolerant):
    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    stream: StrictBool | None = None
    max_output_tokens: Annotated[_Int, Field(ge=0)] | None = None
    temperature: Annotated[_Float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[_Float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[_Float, Field(ge=-100, le=100)] | None = None
    frequency_penalty: Annotated[_Float, Field(ge=-100, le=100)] | None = None
    tools: list[dict[str, Any]] | None = Field(None, max_length=1024)
    tool_choice: object = None
    parallel_tool_calls: StrictBool | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    store: StrictBool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, Any] | None = None
    truncation: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    background: StrictBool | None = None
    fireside: Extension | None = None
