"""An error in the shape that the clients of a path read, whichever dialect it belongs to."""

from __future__ import annotations

from typing import Any

from fireside_engine import errors


def dialect_of(path: str) -> str:
    """ "anthropic", "ollama", or "openai" for all others, which share its shape."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    if path.startswith("/api/") and not path.startswith("/api/v0/"):
        return "ollama"
    return "openai"


def anthropic_body(error: errors.FiresideError) -> dict[str, Any]:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        501: "invalid_request_error",
        503: "overloaded_error",
    }
    kind = kinds.get(error.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


def ollama_body(error: errors.FiresideError) -> dict[str, Any]:
    if isinstance(error, errors.ModelNotFound) and (name := error.details.get("model")):
        # Clients look for these words before they offer to pull.
        return {"error": f"model '{name}' not found"}
    return {"error": str(error)}
