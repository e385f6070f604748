"""What llama-server's own endpoints take, as its editor plugins send it. Unknown members are ignored as ever."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from fireside_engine.server.body_shapes import PAIRS
from fireside_engine.server.openai_schema import GenerationBody

BANNED = -1e9
"""A bias that no logit outweighs; JSON knows no infinity."""

MOST = 1e30
"""A bias beyond it is no number that arithmetic could use."""

_Token = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Mixed = list[_Token | str]


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    model: str | None = None


class RawBody(GenerationBody):
    """Members of `/completion` and `/infill` alike."""

    n_cmpl: Annotated[int, Field(strict=True, ge=1, le=8)] | None = None
    n_probs: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    post_sampling_probs: StrictBool | None = None
    return_tokens: StrictBool | None = None
    n_indent: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    t_max_predict_ms: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    """0 and less is no limit."""
    lora: list[Any] | None = None
    """Refused where it names one."""
    response_fields: list[str] | None = Field(None, max_length=64)
    logit_bias: Annotated[list[tuple[int | str, float]] | None, PAIRS] = Field(None, max_length=4096)

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        """Pairs or a map; false bans a token."""
        pairs = list(value.items()) if isinstance(value, dict) else value
        if not isinstance(pairs, list):
            return pairs
        found = []
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2 or isinstance(pair[0], bool):
                raise ValueError("must be pairs of a token and a bias")
            token, bias = pair
            if isinstance(token, str) and token.isascii() and token.isdecimal() and isinstance(value, dict):
                token = int(token)
            if bias is True or not isinstance(bias, int | float):
                raise ValueError("a bias must be a number or false")
            number = BANNED if bias is False else float(bias) if abs(bias) < MOST else math.inf
            if not math.isfinite(number):
                raise ValueError("a bias must be a number or false")
            found.append((token, number))
        return found


class InfillExtra(BaseModel):
    model_config = ConfigDict(extra="ignore")
    text: str
    filename: str = "tmp"


class InfillBody(RawBody):
    """`POST /infill`."""

    input_prefix: str
    input_suffix: str
    input_extra: list[InfillExtra] | None = Field(None, max_length=1024)
    prompt: str | None = None


class TextWithTokens(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_string: str


class CompletionBody(RawBody):
    """`POST /completion`."""

    prompt: str | _Mixed | TextWithTokens | list[str | _Mixed | TextWithTokens] = ""


class TokenizeBody(_Tolerant):
    content: str
    add_special: StrictBool | None = None
    parse_special: StrictBool | None = None
    with_pieces: StrictBool | None = None


class DetokenizeBody(_Tolerant):
    tokens: list[_Token] = Field(max_length=10_000_000)

    @model_validator(mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return {**value, "tokens": value.get("tokens") or []}
