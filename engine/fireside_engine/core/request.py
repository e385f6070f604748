"""What is asked of the engine: one Request, whatever dialect it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str = ""
    reasoning: str = ""
    """Thinking that belongs to an assistant turn; templates see it as `reasoning_content`."""
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Calls of an assistant turn, OpenAI shape, `arguments` parsed into an object where it is JSON."""
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages, rendered by the model's own template."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions, OpenAI shape."""
    forced_tools: tuple[str, ...] = ()
    """The answer must be a call of one of these."""
    template_args: dict[str, Any] = field(default_factory=dict)
    """Switches that some templates read, e.g. `enable_thinking`."""
    add_generation_prompt: bool = True
    kind: Literal["chat"] = "chat"


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Raw text, no template."""

    text: str
    parse_special: bool = False
    """Read the text of control tokens as those tokens."""
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class TokensPrompt:
    """Tokens, or texts and tokens in turn; text has its control tokens."""

    pieces: tuple[str | tuple[int, ...], ...]
    kind: Literal["tokens"] = "tokens"


@dataclass(frozen=True, slots=True)
class FillPrompt:
    """What is between `prefix` and `suffix`? For models with tokens for filling in the middle."""

    prefix: str
    suffix: str
    middle: str = ""
    """What was typed after `prefix` since; clients that draft ahead keep the two apart."""
    extra: tuple[tuple[str, str], ...] = ()
    """Name and text of other files."""
    kind: Literal["fill"] = "fill"


Prompt = ChatPrompt | TextPrompt | TokensPrompt | FillPrompt


@dataclass(frozen=True, slots=True)
class Constraint:
    """A language that the answer must belong to."""

    kind: Literal["json_schema", "json_object", "regex", "lark", "gbnf"]
    source: str = ""
    """The schema as JSON text, or the grammar; empty for `json_object`."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a token is drawn from logits. Order: bias, penalties, constraint, temperature, then the cuts.

    Defaults are llama.cpp's, so that a model behaves here as its users know it.
    """

    temperature: float = 0.8
    """0 is greedy: the largest logit, the lowest id among equals."""
    top_k: int = 40
    """Keep the k largest; 0 keeps all."""
    top_p: float = 0.95
    """Keep the smallest set with at least this probability; 1 keeps all."""
    min_p: float = 0.05
    """Drop tokens below this share of the largest probability; 0 keeps all."""
    top_n_sigma: float = 0.0
    """Keep logits within this many standard deviations of the largest; 0 keeps all."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    """How many of the latest tokens the penalties look at; -1 for all."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0
    """Unsigned 64 bit; with the position it decides the noise of every draw."""
    logprobs: int | None = None
    """Number of alternatives to report for each token; None reports nothing, 0 only the token drawn."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation: one prompt, one answer."""

    id: str
    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    """None: until the model ends or the context is full."""
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    ignore_eos: bool = False
    tenant: str = ""
    """Whose prompt this is; KV and stored outputs of tenants are kept apart. The owner's is empty."""
    client: str = ""
    """Who asks, of those who share a tenant: clients get their turns one after the other."""
    conversation: str = ""
    """A name of the client's choice: what is saved under it is deleted together."""
    save: bool = True
    """Keep KV on disk for the next turn."""
    speculate: bool = True
    """Drafts may be computed with it; they change its speed, never its text."""
    begun: str = ""
    """What of the answer there is already and stays as it is; what is generated goes on from it."""
    proposed: str = ""
    """An answer that a smaller model gave, behind `begun`: the longest beginning of it that this model agrees with is
    kept, in few steps, and it goes on from there by itself."""
    proposed_ended: bool = False
    """The smaller model ended its answer there."""
    tolerance: float = 0.0
    """0: drafts never decide what is said. Up to 1: what a smaller model says, `proposed` or as the draft model, stays
    where this model finds it good enough (core.sampling.tolerance)."""
    draft_runs: bool = False
    """Tell with the end which parts of the text were drafted and accepted."""
    report: bool = False
    """Tell with the end what is known of drafts on this machine."""
