"""What the server asks a worker beside generating: about its vocabulary, its template, the length of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fireside_engine.core.request import ChatPrompt, Prompt


@dataclass(frozen=True, slots=True)
class Describe:
    """Answered with `template`, `template_origin`, `bos`, `eos`, `fill` (has it tokens for filling in the middle?)."""

    kind: Literal["describe"] = "describe"


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Answered with `tokens` and `pieces`: a text each, or a list of bytes where they are no whole characters."""

    text: str
    add_special: bool = False
    parse_special: bool = True
    kind: Literal["tokenize"] = "tokenize"


@dataclass(frozen=True, slots=True)
class Detokenize:
    """Answered with `text`."""

    tokens: tuple[int, ...]
    kind: Literal["detokenize"] = "detokenize"


@dataclass(frozen=True, slots=True)
class Render:
    """Answered with `text`, as the chat template makes it."""

    prompt: ChatPrompt
    kind: Literal["render"] = "render"


@dataclass(frozen=True, slots=True)
class Count:
    """Answered with `n`, the tokens of a prompt, whether it fits or not."""

    prompt: Prompt
    kind: Literal["count"] = "count"


@dataclass(frozen=True, slots=True)
class Held:
    """Answered with `n`, the tokens of a prompt, and how many of its first are in KV: `ram` in slots, `disk` of those
    beyond them. Looked at beside decoding, so it may be old by the time it is read."""

    prompt: Prompt
    tenant: str = ""
    kind: Literal["held"] = "held"


@dataclass(frozen=True, slots=True)
class Embed:
    """Of a model loaded for embeddings. Answered with `vectors`, float32 in little-endian base64, each of length 1, and
    `counts` of their tokens."""

    inputs: tuple[str | tuple[int, ...], ...]
    kind: Literal["embed"] = "embed"


Question = Describe | Tokenize | Detokenize | Render | Count | Held | Embed


@dataclass(frozen=True, slots=True)
class Ask:
    id: str
    question: Question
    kind: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True)
class Told:
    """`answer`, or `FiresideError.to_dict()` of why there is none."""

    id: str
    answer: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    kind: Literal["told"] = "told"
