"""What each route takes and gives, for the OpenAPI document. A route that is missing here fails its test.

The errors of a route are classes of `errors.py`, by what it does; their statuses are the statuses it may answer with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, RootModel

from fireside_engine import errors
from fireside_engine.server import (
    anthropic_schema,
    cache,
    embeddings,
    fitting,
    llamacpp_schema,
    manage,
    ollama_schema,
    openai_schema,
    removing,
    responses_schema,
    workshop,
)
from fireside_engine.server.openapi_errors import (
    BODY,
    CACHE,
    GATE,
    GENERATING,
    LOADING,
    NAMED,
    OWNED,
    TRANSFERS,
    Errors,
)

SSE = "text/event-stream"
LINES = "application/x-ndjson"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    tag: str
    summary: str
    answer: str
    """Name of a schema of `openapi_answers`, or the type of a text."""
    body: type[BaseModel] | None = None
    stream: str = ""
    """The media type of a streamed answer, where there may be one."""
    errors: Errors = ()
    query: tuple[tuple[str, str], ...] = ()
    """Name and meaning of parameters, all of which may be left out."""
    status: int = 200
    is_open: bool = False
    """Needs no key, whatever is set."""
    for_owner: bool = False
    """Needs the owner's token."""


_CHAT = "A chat completion. Tools, schemas, log probabilities, several answers; `stream` sends chunks, then `[DONE]`."
_COMPLETION = "Raw text goes on; with `suffix`, what is missing in between is filled in."
_KEPT: Errors = (errors.NotFound,)
_MODEL = ("model", "Name of a model; without it, the one that is loaded.")

_ID = ("id", "Beginning or end of an answer's name; without it, the latest.")
_SINCE = ("since", "Seconds of the epoch.")


class ProofBody(RootModel[dict[str, Any]]):
    """What a proof of those that may answer found."""


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/"): Operation("llama-server", "Whether a server is here, in the words Ollama uses.", "text/plain"),
    ("GET", "/health"): Operation("llama-server", "Whether the engine runs.", "Health", is_open=True),
    ("GET", "/openapi.json"): Operation("fireside", "This document.", "Object"),
    # --- OpenAI, also below /v1 and /api/v0
    ("POST", "/chat/completions"): Operation(
        "OpenAI", _CHAT, "ChatCompletion", openai_schema.ChatBody, SSE, errors=GENERATING
    ),
    ("POST", "/completions"): Operation(
        "OpenAI", _COMPLETION, "Completion", openai_schema.CompletionBody, SSE, errors=GENERATING
    ),
    ("POST", "/embeddings"): Operation(
        "OpenAI", "Vectors of texts, of length 1.", "Embeddings", embeddings.EmbeddingsBody, errors=GENERATING
    ),
    ("POST", "/responses"): Operation(
        "OpenAI",
        "A response: a list of items; `stream` sends numbered events.",
        "Response",
        responses_schema.ResponsesBody,
        SSE,
        errors=GENERATING,
    ),
    ("GET", "/responses/{id}"): Operation("OpenAI", "A response that is kept.", "Response", errors=_KEPT),
    ("DELETE", "/responses/{id}"): Operation("OpenAI", "Forget a response.", "ResponseDeleted", errors=_KEPT),
    ("GET", "/models"): Operation("OpenAI", "All models; Anthropic's clients read it too.", "ModelList"),
    ("GET", "/models/{name}"): Operation("OpenAI", "One model.", "Model", errors=NAMED),
    # --- Anthropic
    ("POST", "/v1/messages"): Operation(
        "Anthropic",
        "A message; `stream` sends blocks as events.",
        "AnthropicMessage",
        anthropic_schema.MessagesBody,
        SSE,
        errors=GENERATING,
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        "Anthropic",
        "How many tokens a prompt has, tools included.",
        "AnthropicTokenCount",
        anthropic_schema.MessagesBody,
        errors=GENERATING,
    ),
    # --- Ollama
    ("GET", "/api/version"): Operation("Ollama", "The version of Ollama whose API this is.", "OllamaVersion"),
    ("GET", "/api/tags"): Operation("Ollama", "All models.", "OllamaTags"),
    ("GET", "/api/ps"): Operation("Ollama", "Models that are loaded.", "OllamaRunning"),
    ("POST", "/api/show"): Operation("Ollama", "One model.", "OllamaShown", ollama_schema.NameBody, errors=NAMED),
    ("POST", "/api/chat"): Operation(
        "Ollama",
        "An answer, as lines unless `stream` is false. Without messages, the model is loaded or unloaded.",
        "OllamaChat",
        ollama_schema.ChatBody,
        LINES,
        errors=GENERATING,
    ),
    ("POST", "/api/generate"): Operation(
        "Ollama",
        "An answer to a prompt; with `suffix`, what is missing in between; with `raw`, without a template.",
        "OllamaGenerated",
        ollama_schema.GenerateBody,
        LINES,
        errors=GENERATING,
    ),
    ("POST", "/api/embed"): Operation(
        "Ollama", "Vectors of texts.", "OllamaEmbeddings", embeddings.OllamaBody, errors=GENERATING
    ),
    ("POST", "/api/embeddings"): Operation(
        "Ollama", "The vector of one text.", "OllamaEmbedding", embeddings.OllamaBody, errors=GENERATING
    ),
    ("POST", "/api/pull"): Operation(
        "Ollama",
        "Success for a model that is here. Others are fetched with `fireside pull`.",
        "OllamaStatus",
        ollama_schema.NameBody,
        LINES,
        errors=(*NAMED, *TRANSFERS),
    ),
    ("DELETE", "/api/delete"): Operation(
        "Ollama",
        "Remove a model. For the owner.",
        "Removed",
        ollama_schema.NameBody,
        errors=(*NAMED, errors.Overloaded),
    ),
    # --- llama-server
    ("POST", "/completion"): Operation(
        "llama-server", "Raw text goes on.", "Results", llamacpp_schema.CompletionBody, SSE, errors=GENERATING
    ),
    ("POST", "/infill"): Operation(
        "llama-server",
        "What is missing between two pieces of a file, with other files for context.",
        "Results",
        llamacpp_schema.InfillBody,
        SSE,
        errors=GENERATING,
    ),
    ("POST", "/tokenize"): Operation(
        "llama-server", "Tokens of a text.", "Tokens", llamacpp_schema.TokenizeBody, errors=LOADING
    ),
    ("POST", "/detokenize"): Operation(
        "llama-server", "The text of tokens.", "Content", llamacpp_schema.DetokenizeBody, errors=LOADING
    ),
    ("POST", "/apply-template"): Operation(
        "llama-server", "The prompt that messages become.", "Prompt", openai_schema.ChatBody, errors=GENERATING
    ),
    ("GET", "/props"): Operation(
        "llama-server",
        "What a model is. It is loaded for the question.",
        "Props",
        errors=LOADING,
        query=(_MODEL, ("autoload", "`false` answers without loading.")),
    ),
    ("GET", "/slots"): Operation("llama-server", "What loaded models do now.", "Slots", errors=NAMED, query=(_MODEL,)),
    ("GET", "/metrics"): Operation("llama-server", "Counters, for Prometheus.", "text/plain"),
    # --- LM Studio; the rest of it is OpenAI's
    ("GET", "/api/v0/models"): Operation("LM Studio", "All models.", "LmStudioModels"),
    ("GET", "/api/v0/models/{name}"): Operation("LM Studio", "One model.", "LmStudioModel", errors=NAMED),
    # --- our own
    ("GET", "/fireside/hello"): Operation(
        "fireside",
        "Proof that the listener knows the owner's token, without telling it.",
        "Hello",
        query=(("nonce", "What the proof is made of."),),
        is_open=True,
    ),
    ("GET", "/fireside/status"): Operation("fireside", "The engine and its models.", "Object", for_owner=True),
    ("POST", "/fireside/register"): Operation(
        "fireside", "A name for a file.", "Object", manage.PathBody, errors=NAMED, for_owner=True
    ),
    ("POST", "/fireside/load"): Operation(
        "fireside", "Load a model.", "Object", manage.ModelBody, errors=LOADING, for_owner=True
    ),
    ("POST", "/fireside/unload"): Operation(
        "fireside", "Unload a model.", "Object", manage.ModelBody, errors=NAMED, for_owner=True
    ),
    ("GET", "/fireside/catalogue"): Operation(
        "fireside",
        "Models that are known, installed or not.",
        "Object",
        query=(("query", "Words that all must be there."),),
        for_owner=True,
    ),
    ("GET", "/fireside/downloads"): Operation(
        "fireside", "Models that could be fetched, and about what they would take here.", "Object", for_owner=True
    ),
    ("POST", "/fireside/remove"): Operation(
        "fireside",
        "Remove a model, or unfinished downloads.",
        "Removed",
        removing.RemoveBody,
        errors=(*NAMED, errors.Overloaded),
        for_owner=True,
    ),
    ("POST", "/fireside/fit"): Operation(
        "fireside", "How models would be loaded.", "Object", fitting.FitBody, errors=LOADING, for_owner=True
    ),
    ("POST", "/fireside/show"): Operation(
        "fireside", "All that is known of a model.", "Object", fitting.FitBody, errors=LOADING, for_owner=True
    ),
    ("POST", "/fireside/quantize"): Operation(
        "fireside",
        "Make smaller files of a model; events tell how far it is.",
        SSE,
        workshop.QuantizeBody,
        errors=LOADING,
        for_owner=True,
    ),
    ("POST", "/fireside/measure"): Operation(
        "fireside",
        "Measure speed and loss; events tell how far it is.",
        SSE,
        workshop.MeasureBody,
        errors=LOADING,
        for_owner=True,
    ),
    ("GET", "/fireside/machine"): Operation("fireside", "This machine, as plans see it.", "Object", for_owner=True),
    ("POST", "/fireside/stop"): Operation("fireside", "Stop the engine.", "Object", for_owner=True),
    ("GET", "/fireside/routing"): Operation(
        "fireside", "Who may answer as `auto`.", "Object", errors=NAMED, for_owner=True
    ),
    ("PUT", "/fireside/routing/proof"): Operation(
        "fireside", "Keep what was proved of them.", "Object", ProofBody, errors=NAMED, for_owner=True
    ),
    ("DELETE", "/fireside/routing/proof"): Operation(
        "fireside", "Forget what was proved.", "Object", errors=NAMED, for_owner=True
    ),
    ("GET", "/fireside/routing/why"): Operation(
        "fireside", "Why an answer came from where it did.", "Object", errors=_KEPT, query=(_ID,), for_owner=True
    ),
    ("GET", "/fireside/routing/stats"): Operation(
        "fireside", "What answers cost.", "Object", errors=BODY, query=(_SINCE,), for_owner=True
    ),
    ("DELETE", "/fireside/routing/trace"): Operation("fireside", "Forget what answers cost.", "Object", for_owner=True),
    ("GET", "/fireside/routing/shadows"): Operation(
        "fireside", "Questions that were answered twice.", "Object", for_owner=True
    ),
    ("GET", "/fireside/cache"): Operation("fireside", "What is kept.", "Object", errors=CACHE, for_owner=True),
    ("POST", "/fireside/cache/clear"): Operation(
        "fireside", "Remove what is kept.", "Object", cache.ClearBody, errors=(*CACHE, *NAMED), for_owner=True
    ),
    ("POST", "/fireside/cache/forget"): Operation(
        "fireside", "Remove a conversation.", "Object", cache.ForgetBody, errors=CACHE, for_owner=True
    ),
    ("POST", "/fireside/cache/prune"): Operation(
        "fireside", "Remove what was used longest ago.", "Object", cache.PruneBody, errors=CACHE, for_owner=True
    ),
    ("POST", "/fireside/cache/verify"): Operation(
        "fireside", "Read all of it again; events tell how far it is.", SSE, errors=CACHE, for_owner=True
    ),
}


def all_errors(operation: Operation) -> Errors:
    """Every error that may answer it."""
    found: Errors = (errors.InternalError,)
    if not operation.is_open:
        found += (errors.Unauthorized,)
    if operation.body is not None:
        found += BODY
    return (*GATE, *found, *OWNED, *operation.errors) if operation.for_owner else (*GATE, *found, *operation.errors)
