"""What the engine says about a request: its only output. Each request ends with exactly one terminal event."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class FinishReason(StrEnum):
    STOP = "stop"
    """The model ended, a stop string was met, or the constraint is complete."""
    LENGTH = "length"
    """`max_tokens` or the end of the context was reached."""
    CANCELLED = "cancelled"
    """The client went away or asked to stop."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token drawn, with its log probability before temperature and cuts, and the most likely alternatives."""

    token: int
    piece: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Times and counts of one request, named as llama-server names them."""

    cache_n: int = 0
    """Prompt tokens whose KV was there already."""
    cache_disk_n: int = 0
    """Of these, the ones that came back from disk; the others were in memory."""
    cache_reason: str = ""
    """Why not more of the prompt was known; empty where nothing is to be said."""
    prompt_n: int = 0
    """Prompt tokens computed now."""
    prompt_ms: float = 0.0
    """From the slot to the first token."""
    predicted_n: int = 0
    predicted_ms: float = 0.0
    """From the first token to the last."""
    draft_n: int = 0
    """Drafted tokens that were computed."""
    draft_n_accepted: int = 0
    draft_ms_won: float = 0.0
    """Against plain decoding, by the ledger; negative where drafts lost."""
    draft_sources: tuple[tuple[str, int, int], ...] = ()
    """(source, drafted, accepted)."""
    kept_n: int = 0
    """Tokens of a smaller model that this one kept, of an answer that it was given or under a tolerance."""
    deferred_n: int = 0
    """Tokens of a smaller model that it replaced."""
    route: dict[str, Any] | None = None
    """How the answering model was chosen, where there was a choice; JSON values (server.routing)."""
    queue_ms: float = 0.0
    """Waiting for a slot."""

    @property
    def prompt_per_second(self) -> float:
        return self.prompt_n / self.prompt_ms * 1e3 if self.prompt_ms > 0 else 0.0

    @property
    def predicted_per_second(self) -> float:
        """The first token belongs to the prompt's time, so the rate counts the others."""
        return (self.predicted_n - 1) / self.predicted_ms * 1e3 if self.predicted_ms > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Started:
    """The request has a slot; prefill begins."""

    request_id: str
    n_prompt: int
    n_cached: int
    n_restored: int = 0
    """Of the cached tokens, those that came from disk."""
    opening: str = ""
    """What of the answer the prompt holds already, e.g. the mark that opens thinking."""
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class Progress:
    """A piece of the prompt was computed."""

    request_id: str
    processed: int
    """Prompt tokens in KV, cached ones included."""
    total: int
    cached: int
    elapsed_ms: float
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True, slots=True)
class Delta:
    """New text. Never half a character, never a part of a stop string."""

    request_id: str
    text: str
    n_tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()
    kind: Literal["delta"] = "delta"


@dataclass(frozen=True, slots=True)
class Finished:
    """Terminal: the answer is complete."""

    request_id: str
    reason: FinishReason
    n_prompt: int
    timings: Timings
    exact: bool = False
    """The text is byte for byte that of this request alone, token by token."""
    stop_string: str | None = None
    speculation: dict[str, Any] | None = None
    """What is known of drafts, where it was asked for (core.speculation.report)."""
    draft_runs: tuple[tuple[int, int], ...] = ()
    """(first character, number) of each part of the text that was drafted and accepted, where that was asked for."""
    n_chars: int = 0
    """Of the whole text."""
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True, slots=True)
class Failed:
    """Terminal: `FiresideError.to_dict()` of what went wrong."""

    request_id: str
    error: dict[str, Any] = field(default_factory=dict)
    kind: Literal["failed"] = "failed"


Event = Started | Progress | Delta | Finished | Failed
Terminal = Finished | Failed
