"""What `/v1/chat/completions` and `/v1/completions` take: OpenAI's fields, llama-server's, and our own `fireside`.

Tolerant where clients differ (unknown fields, `null` for anything optional), strict where a value would be guessed:
numbers are numbers, finite and in range. Messages of errors name the field and never quote its value.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator

from fireside_engine import errors
from fireside_engine.server.body_shapes import ANYTHING, BIASES, CONTENT, DURATION, STOP
from fireside_engine.server.call import RouteWish

Model = TypeVar("Model", bound=BaseModel)

_Int = Annotated[int, Field(strict=True)]
_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Token = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


MOST_MESSAGES = 10_000
"""Of one conversation: a template takes its time for each."""


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class FunctionCall(_Tolerant):
    name: str
    arguments: object = None


class ToolCall(_Tolerant):
    id: str | None = None
    function: FunctionCall


class ChatMessage(_Tolerant):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | None, CONTENT] = None
    """Parts arrive joined: see `_text_of_parts`."""
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: Annotated[str | None, ANYTHING] = None
    """OpenRouter's word for the same."""

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return "\n".join(_text_of_part(index, part) for index, part in enumerate(value))

    @field_validator("reasoning", mode="before")
    @classmethod
    def _only_text(cls, value: object) -> object:
        return value if isinstance(value, str) else None


def _text_of_part(index: int, part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise ValueError(f"part {index} is neither text nor an object")
    kind = part.get("type", "text")
    if kind in ("text", "input_text", "output_text", "refusal"):
        text = part.get("text", part.get("refusal"))
        if not isinstance(text, str):
            raise ValueError(f"part {index} has no text")
        return text
    word = {"image_url": "images", "input_image": "images", "image": "images", "input_audio": "audio", "file": "files"}
    raise ValueError(f"part {index}: {word.get(str(kind), 'parts of this type')} cannot be read, only text can")


class StreamOptions(_Tolerant):
    include_usage: bool | None = None


class NamedSchema(_Tolerant):
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class ResponseFormat(_Tolerant):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """llama-server takes a schema beside `json_object`."""


class RouteBody(_Tolerant):
    """How `auto` is to answer."""

    mode: Literal["exact", "balanced", "fast"] | None = None
    tolerance: Annotated[_Float, Field(ge=0, le=1)] | None = None
    tier: Annotated[str, Field(max_length=256)] | None = None
    threshold: Annotated[_Float, Field(ge=0, le=1)] | None = None
    escalate: Literal["verify", "regenerate"] | None = None


class Extension(_Tolerant):
    """The `fireside` member: what no dialect has."""

    deterministic: StrictBool | None = None
    regex: str | None = None
    lark: str | None = None
    conversation: Annotated[str, Field(max_length=128)] | None = None
    """An opaque name: KV that is saved under it can be deleted with it."""
    speculate: StrictBool | Literal["auto", "off"] | None = None
    """False or "off" decodes token by token."""
    report: StrictBool | None = None
    """Tell with the answer what batches cost here and what drafts are worth."""
    draft_runs: StrictBool | None = None
    """Tell with the end which parts of the text were drafted and accepted: `fireside.draft_runs`, a list of
    [first character, number of characters]."""
    draft: Annotated[str, Field(max_length=4096)] | None = None
    """The model that drafts: a name, "auto" or "off". Another one than before loads the model again."""
    save: StrictBool | None = None
    """False keeps this prompt and its answer out of the KV cache on disk."""
    route: RouteBody | None = None
    """For the model `auto`."""

    @property
    def route_wish(self) -> RouteWish:
        found = self.route or RouteBody()
        return RouteWish(found.mode, found.tolerance, found.tier or "", found.threshold, found.escalate)


class GenerationBody(_Tolerant):
    """What every way to generate takes: names of OpenAI and of llama-server."""

    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[_Int, Field(ge=-1)] | None = None
    n_predict: Annotated[_Int, Field(ge=-2)] | None = None
    """llama-server's name; below 0 is no limit."""
    n: Annotated[_Int, Field(ge=1, le=8)] | None = None
    temperature: Annotated[_Float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[_Float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[_Int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[_Float, Field(ge=0, le=1)] | None = None
    top_n_sigma: Annotated[_Float, Field(ge=-1, le=100)] | None = None
    repeat_penalty: Annotated[_Float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[_Int, Field(ge=-1, le=2**31 - 1)] | None = None
    presence_penalty: Annotated[_Float, Field(ge=-100, le=100)] | None = None
    frequency_penalty: Annotated[_Float, Field(ge=-100, le=100)] | None = None
    seed: Annotated[_Int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: Annotated[list[Annotated[str, Field(max_length=1024)]] | None, STOP] = Field(None, max_length=32)
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    ignore_eos: StrictBool | None = None
    timings_per_token: StrictBool | None = None
    return_progress: StrictBool | None = None
    keep_alive: Annotated[float | None, DURATION] = None
    """Seconds; -1 is for ever."""
    fireside: Extension | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return None if value is None else seconds(value)


class BiasedBody(GenerationBody):
    """With OpenAI's way to write a bias."""

    logit_bias: Annotated[dict[str, _Float] | None, BIASES] = Field(None, max_length=4096)

    @field_validator("logit_bias", mode="after")
    @classmethod
    def _ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for token in value or ():
            if not (token.isascii() and token.isdecimal() and int(token) < 2**31):
                raise ValueError("keys must be token ids")
        return value

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        return tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())


class ChatBody(BiasedBody):
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: Annotated[_Int, Field(ge=-1)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[_Int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = Field(None, max_length=1024)
    functions: list[Any] | None = None
    """OpenAI's first word for tools, refused where there are any: the answer would be another one without them."""
    tool_choice: object = None
    parallel_tool_calls: StrictBool | None = None
    reasoning_format: str | None = None
    """llama-server's: "none" leaves thinking among the words."""
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    add_generation_prompt: StrictBool | None = None
    continue_final_message: StrictBool | None = None


class CompletionBody(BiasedBody):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[_Token] | list[list[_Token]] = ""
    suffix: str | None = None
    echo: StrictBool | None = None
    logprobs: Annotated[_Int, Field(ge=0, le=20)] | None = None


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def seconds(value: object) -> float:
    """A duration as Ollama's clients write it: seconds, or "5m", "1h30m"; anything negative is -1, for ever.

    Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be seconds, or a duration like 5m")
    if isinstance(value, str):
        text = value.strip()
        negative, digits = text.startswith("-"), text.lstrip("+-")
        if re.fullmatch(r"\d+(\.\d+)?", digits):
            number = float(digits)
        elif digits and _DURATION.sub("", digits) == "":
            number = sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(digits))
        else:
            raise ValueError("must be seconds, or a duration like 5m")
        value = -number if negative else number
    if not value < 1e9:
        raise ValueError("is too long")
    return float(value) if value >= 0 else -1.0


def parse(kind: type[Model], body: bytes) -> Model:
    """`body` as `kind`. Raises InvalidRequest with the field at fault, as `param`, and never its value."""
    try:
        data = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        position = re.search(r"line \d+ column \d+", str(error))
        where = f" ({position.group()})" if position else ""
        raise errors.InvalidRequest(f"The body is not valid JSON{where}.") from None
    if not isinstance(data, dict):
        raise errors.InvalidRequest("The body must be a JSON object.")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise explain(error) from None


def explain(error: ValidationError, before: str = "") -> errors.InvalidRequest:
    """The first thing wrong, with `before` in front of the field's name."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ""
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    path = before + path
    why = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "missing":
        why = "is missing"
    return errors.InvalidRequest(f"{path}: {why[:1].lower()}{why[1:]}.", param=path)
