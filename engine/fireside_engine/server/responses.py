"""Answers as JSON, and errors in the one shape that all `/v1` and `/fireside` routes share.

JSON is compact and on one line: an editor plugin searches it with a pattern that knows no spaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.server.dialect_errors import anthropic_body, dialect_of, ollama_body

_RESERVED = ("message", "type", "code", "hint")


def dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dumps(value), status, headers, media_type="application/json")


def error_type(error: errors.FiresideError) -> str:
    """OpenAI's word for it."""
    match error:
        case errors.ContextExceeded():
            return "exceed_context_size_error"
        case errors.Unauthorized() | errors.Forbidden():
            return "authentication_error"
        case errors.Overloaded():
            return "rate_limit"
    if error.status == 404:
        return "not_found_error"
    if error.status == 503:
        return "unavailable_error"
    if error.status == 501:
        return "not_supported_error"
    return "invalid_request_error" if error.status < 500 else "server_error"


def error_body(error: errors.FiresideError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "message": error.message,
        "type": error_type(error),
        "code": error.code,
        "hint": error.hint,
    }
    body.update({name: value for name, value in error.details.items() if name not in _RESERVED})
    return {"error": body}


def error_response(error: errors.FiresideError, path: str = "") -> Response:
    """In the shape of the path's dialect."""
    headers = {}
    if "retry_after" in error.details:
        headers["retry-after"] = str(error.details["retry_after"])
    if isinstance(error, errors.WorkerCrashed | errors.WorkerHung | errors.InsufficientMemory):
        # OpenAI's SDKs would send it again twice by themselves, and a prompt that kills its worker kills the next one.
        headers["x-should-retry"] = "false"
    if isinstance(error, errors.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return json_response(_SHAPES[dialect_of(path)](error), error.status, headers)


_SHAPES = {"anthropic": anthropic_body, "ollama": ollama_body, "openai": error_body}


async def on_fireside_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.FiresideError)  # noqa: S101 - registered for this class
    return error_response(error, request.url.path)


async def on_unknown_path(request: Request, _error: Exception) -> Response:
    """Clients find out what a server can do by what is missing."""
    message = f"There is no {request.url.path} here."
    return _plain(request, 404, "not_found_error", "not_found", message)


async def on_wrong_method(request: Request, _error: Exception) -> Response:
    message = f"{request.url.path} does not take {request.method}."
    return _plain(request, 405, "invalid_request_error", "method_not_allowed", message)


async def on_defect(request: Request, _error: Exception) -> Response:
    """The traceback goes to the log, never to the client."""
    error = errors.InternalError("The engine failed on this request.", hint="Its log tells more.")
    return error_response(error, request.url.path)


def _plain(request: Request, status: int, kind: str, code: str, message: str) -> Response:
    match dialect_of(request.url.path):
        case "anthropic":
            return json_response({"type": "error", "error": {"type": kind, "message": message}}, status)
        case "ollama":
            return json_response({"error": message}, status)
    return json_response({"error": {"message": message, "type": kind, "code": code, "hint": ""}}, status)
