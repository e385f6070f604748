"""Whatever stands in any member of any body: it is refused in words, or becomes a request that a worker can be sent."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from fireside_engine.core.request import Request
from fireside_engine.errors import FiresideError
from fireside_engine.server import embeddings
from fireside_engine.server.anthropic_request import count_prompt, messages_call
from fireside_engine.server.llamacpp_request import completion_call as raw_call
from fireside_engine.server.llamacpp_request import infill_call, texts_with_bias
from fireside_engine.server.llamacpp_schema import CompletionBody, DetokenizeBody, InfillBody, RawBody, TokenizeBody
from fireside_engine.server.ollama_request import chat_call as ollama_chat
from fireside_engine.server.ollama_request import generate_call
from fireside_engine.server.ollama_schema import ChatBody, GenerateBody
from fireside_engine.server.openai_completions import completion_call
from fireside_engine.server.openai_request import chat_call, template_prompt
from fireside_engine.server.openai_schema import ChatBody as OpenAiChatBody
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.responses_request import responses_call
from fireside_engine.server.responses_schema import ResponsesBody
from fireside_engine.worker.protocol import Submit, decode_command, encode_command
from fireside_engine.worker.questions import Ask, Count, Embed, Render, Tokenize
from hostile import BODIES, mutants


def raw(kind: type[RawBody], translate: Callable[..., Any]) -> Callable[[bytes], Iterable[Request]]:
    def requests(body: bytes) -> Iterable[Request]:
        parsed = parse(kind, body)
        found: Iterable[Request] = translate(parsed, dict.fromkeys(texts_with_bias(parsed), (1,))).requests
        return found

    return requests


def counted(body: bytes) -> None:
    encode_command(Ask("1", Count(count_prompt(body)[1])))


def rendered(body: bytes) -> None:
    encode_command(Ask("1", Render(template_prompt(parse(OpenAiChatBody, body)))))


def embedded(kind: Any) -> Callable[[bytes], None]:
    def ask(body: bytes) -> None:
        parsed = parse(kind, body)
        given = getattr(parsed, "input", "") or "x"
        encode_command(Ask("1", Embed(embeddings._inputs(given))))

    return ask


def tokenized(body: bytes) -> None:
    encode_command(Ask("1", Tokenize(parse(TokenizeBody, body).content)))


TRANSLATORS: dict[str, Callable[[bytes], Iterable[Request] | None]] = {
    "/v1/chat/completions": lambda body: chat_call(body).requests,
    "/v1/completions": lambda body: completion_call(body).requests,
    "/infill": raw(InfillBody, infill_call),
    "/completion": raw(CompletionBody, raw_call),
    "/v1/messages": lambda body: messages_call(body).requests,
    "/v1/responses": lambda body: responses_call(parse(ResponsesBody, body), ()).requests,
    "/api/chat": lambda body: ollama_chat(parse(ChatBody, body)).requests,
    "/api/generate": lambda body: generate_call(parse(GenerateBody, body)).requests,
    "/v1/embeddings": embedded(embeddings.EmbeddingsBody),
    "/api/embed": embedded(embeddings.OllamaBody),
    "/api/embeddings": embedded(embeddings.OllamaBody),
    "/tokenize": tokenized,
    "/detokenize": lambda body: (parse(DetokenizeBody, body), None)[1],
    "/v1/messages/count_tokens": counted,
    "/apply-template": rendered,
}


def test_every_body_has_a_translator() -> None:
    assert set(TRANSLATORS) == set(BODIES)


@pytest.mark.parametrize("path", BODIES)
def test_a_value_is_refused_in_words_or_understood(path: str) -> None:
    translate = TRANSLATORS[path]
    translate(json.dumps(BODIES[path]).encode())
    refused = 0
    for what, body in mutants(BODIES[path]):
        try:
            requests = translate(body) or ()
            for request in requests:
                sampling = request.sampling
                numbers = [sampling.temperature, sampling.top_p, sampling.min_p, sampling.repeat_penalty]
                assert all(map(math.isfinite, numbers)), what
                assert 0 <= sampling.seed < 2**64, what
                assert request.max_tokens is None or request.max_tokens >= 0, what
                command = decode_command(encode_command(Submit(request))[4:])
                assert isinstance(command, Submit), what
        except FiresideError as error:
            assert 400 <= error.status < 500, what
            assert len(str(error)) < 1000, what
            refused += 1
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert refused > 10
