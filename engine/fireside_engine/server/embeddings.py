"""Embeddings in the dialects of OpenAI and Ollama: vectors of length 1."""

from __future__ import annotations

import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.asking import ask
from fireside_engine.server.body_shapes import DURATION
from fireside_engine.server.disconnect import attended
from fireside_engine.server.engine import Engine
from fireside_engine.server.ollama_schema import NameBody
from fireside_engine.server.openai_schema import parse, seconds
from fireside_engine.server.responses import json_response
from fireside_engine.server.tenants import client_in
from fireside_engine.worker.questions import Embed

MOST = 2048
"""Texts in one request; as many as OpenAI takes."""

_AT_ONCE = 8

_Token = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Inputs = str | list[str] | list[_Token] | list[list[_Token]]


class EmbeddingsBody(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    model: str | None = None
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None


class OllamaBody(NameBody):
    input: str | list[str] = ""
    prompt: str = ""
    keep_alive: Annotated[float | None, DURATION] = None
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return None if value is None else seconds(value)


class Embeddings:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def openai(self, request: Request) -> Response:
        body = parse(EmbeddingsBody, await request.body())
        return await attended(request, self._openai(body, client_in(request.scope)))

    async def _openai(self, body: EmbeddingsBody, client: str) -> Response:
        entry = (await self._engine.names.find(body.model or "")).entry
        vectors, n_tokens = await self._embed(entry, _inputs(body.input), client, body.dimensions)
        encode = _base64 if body.encoding_format == "base64" else _floats
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return json_response({"object": "list", "data": data, "model": entry.name, "usage": usage})

    async def ollama(self, request: Request) -> Response:
        body = parse(OllamaBody, await request.body())
        return await attended(request, self._ollama(body, client_in(request.scope)))

    async def _ollama(self, body: OllamaBody, client: str) -> Response:
        began = time.monotonic()
        entry = (await self._engine.names.find(body.model)).entry
        inputs = _inputs(body.input) if body.input else ()
        vectors, n_tokens = await self._embed(entry, inputs, client, body.dimensions, body.keep_alive)
        return json_response(
            {
                "model": body.model or entry.name,
                "embeddings": [_floats(vector) for vector in vectors],
                "total_duration": int((time.monotonic() - began) * 1e9),
                "load_duration": 0,
                "prompt_eval_count": n_tokens,
            }
        )

    async def ollama_single(self, request: Request) -> Response:
        """The older endpoint: one `prompt`, one `embedding`."""
        body = parse(OllamaBody, await request.body())
        return await attended(request, self._ollama_single(body, client_in(request.scope)))

    async def _ollama_single(self, body: OllamaBody, client: str) -> Response:
        entry = (await self._engine.names.find(body.model)).entry
        if not body.prompt:
            return json_response({"embedding": []})
        vectors, _ = await self._embed(entry, (body.prompt,), client, None, body.keep_alive)
        return json_response({"embedding": _floats(vectors[0])})

    async def _embed(
        self,
        entry: Entry,
        inputs: tuple[str | tuple[int, ...], ...],
        client: str,
        dimensions: int | None = None,
        keep_alive: float | None = None,
    ) -> tuple[list[NDArray[np.float32]], int]:
        """A few texts at a time, so that nobody waits for all of somebody else's, and nothing is computed for a client
        that is gone."""
        vectors: list[NDArray[np.float32]] = []
        n_tokens = 0
        for start in range(0, len(inputs), _AT_ONCE):
            some = Embed(inputs[start : start + _AT_ONCE])
            answer = await ask(self._engine, entry, some, keep_alive, client)
            vectors += [np.frombuffer(base64.b64decode(each), "<f4") for each in answer["vectors"]]
            n_tokens += sum(answer["counts"])
        if vectors and dimensions is not None:
            if dimensions > len(vectors[0]):
                words = f"dimensions: this model has {len(vectors[0])}."
                raise errors.InvalidRequest(words, param="dimensions")
            vectors = [_shortened(vector, dimensions) for vector in vectors]
        return vectors, n_tokens


def _inputs(given: Inputs) -> tuple[str | tuple[int, ...], ...]:
    """Raises InvalidRequest."""
    inputs: list[str | tuple[int, ...]] = []
    tokens: list[int] = []
    for each in [given] if isinstance(given, str) else given:
        if isinstance(each, int):
            tokens.append(each)
        else:
            inputs.append(each if isinstance(each, str) else tuple(each))
    if tokens:
        inputs.append(tuple(tokens))
    if not inputs or len(inputs) > MOST or any(len(each) == 0 for each in inputs):
        raise errors.InvalidRequest(f"input: must be 1 to {MOST} texts, none of them empty.", param="input")
    return tuple(inputs)


def _shortened(vector: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The first dimensions, of length 1 again, as models trained for it expect."""
    short = vector[:dimensions]
    return short / max(float(np.linalg.norm(short)), 1e-12)


def _floats(vector: NDArray[np.float32]) -> list[float]:
    return [float(value) for value in vector]


def _base64(vector: NDArray[np.float32]) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
