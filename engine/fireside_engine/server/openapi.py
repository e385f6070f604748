"""The OpenAPI document of an application: from its routes, its bodies and its errors, so that it cannot say too much.

`GET /openapi.json` serves it. What a route takes and gives stands in `openapi_routes`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fireside_engine import __version__
from fireside_engine.server.dialect_errors import dialect_of
from fireside_engine.server.openapi_answers import ANSWERS, ref
from fireside_engine.server.openapi_routes import JSON, LINES, OPERATIONS, SSE, Operation, all_errors
from fireside_engine.server.responses import json_response

Json = dict[str, Any]

_ABOUT = """\
One local engine in the dialects of OpenAI, Anthropic, Ollama, llama-server and, for discovery, LM Studio.
Bodies are read as JSON whatever their content type, unknown members are ignored, and `null` stands for a member that is
not there. Every path that takes GET takes HEAD too. Errors have the shape of the path's dialect, in streams too."""
_ERRORS = {"openai": "Error", "anthropic": "AnthropicError", "ollama": "OllamaError"}
_STREAMS: dict[str, Json] = {
    SSE: {
        "type": "object",
        "description": "Each server-sent event; comments between them are pings.",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
        "required": ["data"],
    },
    LINES: {"type": "string", "description": "One JSON object on each line."},
}


_PREFIXES = {"llama-server": "LlamaServer", "LM Studio": "LmStudio", "fireside": "Fireside"}


class _Untitled(GenerateJsonSchema):
    """Names of members say as much as the titles that would be made of them."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


class OpenApi:
    """The endpoint. The document is made when it is first asked for."""

    def __init__(self) -> None:
        self._document: Json | None = None

    async def show(self, request: Request) -> Response:
        if self._document is None:
            self._document = document(request.app.routes)
        return json_response(self._document)


def document(routes: Iterable[BaseRoute]) -> Json:
    """Raises KeyError for a route that is not described."""
    paths: dict[str, Json] = {}
    schemas: Json = dict(ANSWERS)
    for route in routes:
        if not isinstance(route, Route):
            continue
        path = route.path.replace(":path}", "}")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = operation_of(method, path)
            described = _operation(operation, method, path, schemas)
            paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "fireside", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


_SECURITY: Json = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, where any were set. Or as `x-api-key`."},
    "owner": {"type": "http", "scheme": "bearer", "description": "The token in the runtime directory."},
}


def operation_of(method: str, path: str) -> Operation:
    """OpenAI's paths are described once, for all the places where they are. Raises KeyError."""
    for start in ("", "/v1", "/api/v0"):
        if path.startswith(start) and (found := OPERATIONS.get((method, path[len(start) :]))) is not None:
            return found
    raise KeyError(f"{method} {path}")


def _operation(operation: Operation, method: str, path: str, schemas: Json) -> Json:
    described: Json = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": f"{method.lower()}{path.replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {str(operation.status): _success(operation), **_failures(operation, path)},
    }
    if operation.for_owner:
        described["security"] = [{"owner": []}]
    if operation.is_open:
        described["security"] = []
    if parameters := [*_path_parameters(path), *_query_parameters(operation)]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _body(operation.body, operation.tag, schemas)}},
        }
    return described


def _success(operation: Operation) -> Json:
    if "/" in operation.answer:
        text = _STREAMS.get(operation.answer, {"type": "string"})
        return {"description": operation.summary, "content": {operation.answer: {"schema": text}}}
    content: Json = {JSON: {"schema": ref(operation.answer)}}
    if operation.stream:
        content[operation.stream] = {"schema": _STREAMS[operation.stream]}
    return {"description": operation.summary, "content": content}


def _failures(operation: Operation, path: str) -> Json:
    """By status, with the codes of the errors that have it."""
    shape = ref(_ERRORS[dialect_of(path)])
    by_status: dict[int, list[str]] = {}
    for error in all_errors(operation):
        codes = by_status.setdefault(error.status, [])
        if error.code not in codes:
            codes.append(error.code)
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}.",
            "content": {JSON: {"schema": shape}},
        }
        for status, codes in sorted(by_status.items())
    }


def _path_parameters(path: str) -> list[Json]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(operation: Operation) -> list[Json]:
    return [
        {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in operation.query
    ]


def _body(kind: type[BaseModel], tag: str, schemas: Json) -> Json:
    """Its schema, with those it refers to, under names that tell dialects apart."""
    prefix = _PREFIXES.get(tag, tag)
    made = kind.model_json_schema(ref_template=f"#/components/schemas/{prefix}{{model}}", schema_generator=_Untitled)
    for name, schema in made.pop("$defs", {}).items():
        schemas[f"{prefix}{name}"] = schema
    own = kind.__dict__.get("__doc__")
    made["description"] = inspect.cleandoc(own) if own else kind.__name__
    schemas[f"{prefix}{kind.__name__}"] = made
    return ref(f"{prefix}{kind.__name__}")
