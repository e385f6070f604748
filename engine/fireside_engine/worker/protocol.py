"""The words that server and worker exchange over the pipe, and their framing.

A frame is a little-endian u32 length and that many bytes of JSON. The worker reads its standard input and writes its
(duplicated) standard output; end of input means that the server is gone, and the worker leaves.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from fireside_engine.core.answers.formats import ChatFormat
from fireside_engine.core.events import Event
from fireside_engine.core.footprint import DeviceBytes
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import Request
from fireside_engine.worker.questions import Ask, Told

_HEADER = struct.Struct("<I")
MAX_FRAME = 256 * 1024 * 1024
"""A frame above this is a defect, not a message: the API's own body limit is 32 MiB."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded. Equal options of the same file share one worker."""

    n_ctx: int | None = None
    """Tokens of one conversation; None chooses for this machine."""
    n_slots: int | None = None
    """Sequences decoded together; None chooses for this machine."""
    n_threads: int | None = None
    kv_type: Literal["f16", "bf16", "q8_0"] | None = None
    gpu_layers: int = -1
    """Layers that GPUs take, where there are any; -1 is all."""
    cpu_experts: int = 0
    """Of so many layers, from the first on, the experts stay in main memory."""
    deterministic: bool = False
    """Keep every batch inside the exact window, so that the text depends on the request alone, byte for byte."""
    draft: str = "auto"
    """The draft model: the path of its file, "off" for none, "auto" for the one that comes with the load, if it may
    pay."""
    embedding: bool = False
    """It makes embeddings, and answers nothing else."""
    cache: bool = True
    """Keep KV on disk."""
    cache_budget: int | None = None
    """Bytes that KV of all models may take on disk; None chooses for this disk."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model is, as `ps` and the API show it."""

    architecture: str
    description: str
    """llama.cpp's one line, e.g. "qwen2 1.5B Q4_K - Medium"."""
    n_params: int
    size: int
    """Bytes of the weights."""
    n_ctx: int
    """Tokens one conversation may have."""
    n_ctx_train: int
    n_slots: int
    n_vocab: int
    n_threads: int
    kv_type: str
    """e.g. "f16", or "f16/bf16" where K and V differ."""
    exact_window: int
    """Largest batch that is bit-identical to single steps, for f16 KV within 256 tokens; 0 means every batch is."""
    deterministic: bool
    has_template: bool
    cache: str
    """How KV is kept on disk, or why it is not, in words."""
    memory: int
    """Bytes resident in the worker after loading."""
    load_ms: float
    build: str
    """llama.cpp build and instruction sets."""
    devices: tuple[DeviceBytes, ...] = ()
    """What llama.cpp allocated, by device and kind."""
    step_ms: float = 0.0
    """Time of one decoded token in a short conversation, as the probe measured it."""
    chat_format: ChatFormat = field(default_factory=ChatFormat)
    """How its answers mark thinking and calls of tools."""
    fill: bool = False
    """Its vocabulary has tokens for filling in the middle."""
    speculation: str = ""
    """What drafts for it, or why nothing does, in words."""
    draft: str = ""
    """The draft model that was loaded with it, by the name of its file."""
    draft_state: Literal["none", "loaded", "freed"] = "none"


# --- server to worker


@dataclass(frozen=True, slots=True)
class Load:
    path: str
    options: LoadOptions = field(default_factory=LoadOptions)
    draft: str | None = None
    """Path of the model that goes with it as a draft model, where one is known."""
    kind: Literal["load"] = "load"


@dataclass(frozen=True, slots=True)
class Submit:
    request: Request
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class Hold:
    """The client does not read, or (`held` False) does again: draw nothing meanwhile."""

    request_id: str
    held: bool
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, slots=True)
class Forget:
    """KV was deleted from disk: what is in memory of it goes as well."""

    owner: Owner | None = None
    """None: anybody's."""
    drop: bool = True
    """False: it may stay in memory, and is saved again when it is used."""
    kind: Literal["forget"] = "forget"


Command = Load | Submit | Cancel | Hold | Forget | Ask


# --- worker to server


@dataclass(frozen=True, slots=True)
class Loading:
    """The load goes on."""

    stage: Literal["reading", "probing", "warming"]
    fraction: float
    """0 to 1 of the stage."""
    kind: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True)
class Loaded:
    info: ModelInfo
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """`FiresideError.to_dict()`; the worker leaves after it."""

    error: dict[str, Any]
    kind: Literal["load_failed"] = "load_failed"


@dataclass(frozen=True, slots=True)
class Happened:
    event: Event
    kind: Literal["event"] = "event"


@dataclass(frozen=True, slots=True)
class Beat:
    """Every second: the worker lives."""

    busy_s: float
    """How long the present step has run; 0 between steps. A large value means that decode hangs."""
    active: int
    waiting: int
    kind: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True)
class Drafting:
    """The draft model left memory, or came back."""

    state: Literal["loaded", "freed"]
    words: str
    """In place of `ModelInfo.speculation`."""
    devices: tuple[DeviceBytes, ...]
    """In place of `ModelInfo.devices`."""
    kind: Literal["drafting"] = "drafting"


Reply = Loading | Loaded | LoadFailed | Happened | Beat | Told | Drafting


@checked_dataclass(frozen=True, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
class _CommandFrame:
    m: Annotated[Command, Field(discriminator="kind")]


@checked_dataclass(frozen=True, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
class _ReplyFrame:
    m: Annotated[Reply, Field(discriminator="kind")]


_COMMANDS = TypeAdapter(_CommandFrame)
_REPLIES = TypeAdapter(_ReplyFrame)


def _frame(body: bytes) -> bytes:
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes is above the limit of {MAX_FRAME}")
    return _HEADER.pack(len(body)) + body


def encode_command(command: Command) -> bytes:
    """A whole frame."""
    return _frame(_COMMANDS.dump_json(_CommandFrame(command)))


def decode_command(body: bytes) -> Command:
    """Raises pydantic.ValidationError on anything that is no command."""
    return _COMMANDS.validate_json(body).m


def encode_reply(reply: Reply) -> bytes:
    """A whole frame."""
    return _frame(_REPLIES.dump_json(_ReplyFrame(reply)))


def decode_reply(body: bytes) -> Reply:
    """Raises pydantic.ValidationError on anything that is no reply."""
    return _REPLIES.validate_json(body).m


class _Reader(Protocol):
    def read(self, n: int, /) -> bytes: ...


def read_frame(stream: _Reader) -> bytes | None:
    """The body of the next frame, or None at the end of the stream. `read` must block until n bytes or the end.

    Raises EOFError when the stream ends inside a frame.
    """
    header = stream.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise EOFError("the pipe ended inside a frame")
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME:
        raise EOFError(f"a frame claims {length} bytes")
    body = stream.read(length)
    if len(body) < length:
        raise EOFError("the pipe ended inside a frame")
    return body


def frame_length(header: bytes) -> int:
    """Length of the body that follows a 4-byte header; for readers that are not blocking."""
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME:
        raise EOFError(f"a frame claims {length} bytes")
    return int(length)
