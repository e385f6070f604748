"""Which path of which dialect leads where. None of them knows another."""

from __future__ import annotations

from starlette.routing import Route

from fireside_engine.server.anthropic_routes import Anthropic
from fireside_engine.server.embeddings import Embeddings
from fireside_engine.server.engine import Engine
from fireside_engine.server.llamacpp_routes import LlamaCpp
from fireside_engine.server.lmstudio import LmStudio
from fireside_engine.server.model_list import ModelList
from fireside_engine.server.ollama_routes import Ollama
from fireside_engine.server.openai_chat import ChatCompletions
from fireside_engine.server.openai_completions import Completions
from fireside_engine.server.responses_routes import Responses


def dialect_routes(engine: Engine) -> list[Route]:
    return [*_openai(engine), *_anthropic(engine), *_ollama(engine), *_llamacpp(engine), *_lmstudio(engine)]


def _openai(engine: Engine) -> list[Route]:
    """With and without `/v1`, because clients differ on whether the base URL has it, and where LM Studio has it."""
    models, chat, completions = ModelList(engine), ChatCompletions(engine), Completions(engine)
    responses, embeddings = Responses(engine), Embeddings(engine)
    routes = []
    for base in ("/v1", "", "/api/v0"):
        routes += [
            Route(f"{base}/chat/completions", chat.respond, methods=["POST"]),
            Route(f"{base}/completions", completions.respond, methods=["POST"]),
            Route(f"{base}/embeddings", embeddings.openai, methods=["POST"]),
            Route(f"{base}/responses", responses.respond, methods=["POST"]),
            Route(f"{base}/responses/{{id}}", responses.one, methods=["GET", "DELETE"]),
        ]
    for base in ("/v1", ""):
        routes += [Route(f"{base}/models", models.all), Route(f"{base}/models/{{name:path}}", models.one)]
    return routes


def _lmstudio(engine: Engine) -> list[Route]:
    """Discovery; the rest of its API is OpenAI's."""
    lmstudio = LmStudio(engine)
    return [Route("/api/v0/models", lmstudio.models), Route("/api/v0/models/{name:path}", lmstudio.model)]


def _anthropic(engine: Engine) -> list[Route]:
    anthropic = Anthropic(engine)
    return [
        Route("/v1/messages", anthropic.messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", anthropic.count_tokens, methods=["POST"]),
    ]


def _ollama(engine: Engine) -> list[Route]:
    ollama, embeddings = Ollama(engine), Embeddings(engine)
    return [
        Route("/api/version", ollama.version),
        Route("/api/tags", ollama.tags),
        Route("/api/ps", ollama.ps),
        Route("/api/show", ollama.show, methods=["POST"]),
        Route("/api/chat", ollama.chat, methods=["POST"]),
        Route("/api/generate", ollama.generate, methods=["POST"]),
        Route("/api/embed", embeddings.ollama, methods=["POST"]),
        Route("/api/embeddings", embeddings.ollama_single, methods=["POST"]),
        Route("/api/pull", ollama.pull, methods=["POST"]),
        Route("/api/delete", ollama.delete, methods=["DELETE"]),
    ]


def _llamacpp(engine: Engine) -> list[Route]:
    llamacpp = LlamaCpp(engine)
    return [
        Route("/completion", llamacpp.completion, methods=["POST"]),
        Route("/infill", llamacpp.infill, methods=["POST"]),
        Route("/tokenize", llamacpp.tokenize, methods=["POST"]),
        Route("/detokenize", llamacpp.detokenize, methods=["POST"]),
        Route("/apply-template", llamacpp.apply_template, methods=["POST"]),
        Route("/props", llamacpp.props),
        Route("/slots", llamacpp.slots),
        Route("/metrics", llamacpp.metrics),
    ]
