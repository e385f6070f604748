"""Every error of the engine, drawn once. Classes are by whose fault it is, because that decides who can mend it.

    FiresideError
    ├── RequestError            the caller's: change the request
    │   ├── InvalidRequest      400  a value is missing, malformed or out of range
    │   ├── ContextExceeded     400  the prompt has more tokens than the context holds
    │   ├── InvalidConstraint   400  schema or grammar malformed, unsupported, or too large
    │   ├── Unauthorized        401  no key, or a wrong one
    │   ├── Forbidden           403  a web page or a foreign host name called
    │   ├── AccessDenied        403  a model hub wants a token, or its terms accepted
    │   ├── ModelNotFound       404  no model of that name
    │   ├── NotFound            404  nothing else of that name
    │   ├── TooLarge            413  the body is larger than the limit
    │   └── NotSupported        501  this model cannot do it, or nothing here can
    ├── ModelError              the file's: use another model
    │   ├── NotAModel           422  not a GGUF, or truncated
    │   ├── ModelUnsupported    422  a GGUF that this llama.cpp build refuses
    │   ├── WrongBytes          422  a download is not the file that its source describes
    │   └── TemplateFailed      422  the model's chat template refused the messages or broke a limit
    ├── MachineError            the machine's: free something, or wait
    │   ├── InsufficientMemory  503  the model does not fit what is free now
    │   ├── StillLoading        503  the model takes long to load; asking again later may help
    │   ├── NoSpace             507  the disk has no room for a download, or cannot be written
    │   ├── CacheUnavailable    503  the KV cache on disk cannot be used now
    │   ├── NoConnection        503  a model hub cannot be reached, or the network is not to be used
    │   └── Overloaded          429  too many requests are waiting
    └── EngineError             ours: report it
        ├── WorkerCrashed       502  the process of a model died
        ├── WorkerHung          502  the process of a model stopped answering
        ├── ShuttingDown        503  the engine is stopping
        └── InternalError       500  a defect

An error travels as data (`to_dict`) through the pipe and the API, and comes back as its class (`from_dict`).
`message` says what happened, `hint` what to do next; neither ever holds text of a prompt.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FiresideError(Exception):
    """Base of all errors that a user can meet."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    """HTTP status of the API."""

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details
        """JSON values that a program may read, e.g. `n_prompt_tokens`."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "hint": self.hint, "details": self.details}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> FiresideError:
        """Inverse of `to_dict`; an unknown code, from another version, becomes an InternalError."""
        kind = _BY_CODE.get(str(data.get("code")), InternalError)
        return kind(str(data.get("message", "")), hint=str(data.get("hint", "")), **dict(data.get("details") or {}))


class RequestError(FiresideError):
    """The caller's fault."""

    code = "request_error"
    status = 400


class InvalidRequest(RequestError):
    code = "invalid_request"


class ContextExceeded(RequestError):
    """Details: `n_prompt_tokens`, `n_ctx`."""

    code = "context_exceeded"


class InvalidConstraint(RequestError):
    code = "invalid_constraint"


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401


class Forbidden(RequestError):
    code = "forbidden"
    status = 403


class AccessDenied(RequestError):
    code = "access_denied"
    status = 403


class ModelNotFound(RequestError):
    """Details: `model`, and `similar` when there are close names."""

    code = "model_not_found"
    status = 404


class NotFound(RequestError):
    code = "not_found"
    status = 404


class TooLarge(RequestError):
    code = "too_large"
    status = 413


class NotSupported(RequestError):
    """Details: `feature`, one word."""

    code = "not_supported"
    status = 501


class ModelError(FiresideError):
    """The model file's fault."""

    code = "model_error"
    status = 422


class NotAModel(ModelError):
    code = "not_a_model"


class ModelUnsupported(ModelError):
    code = "model_unsupported"


class WrongBytes(ModelError):
    """Details: `expected` and `found`, checksums."""

    code = "wrong_bytes"


class TemplateFailed(ModelError):
    code = "template_failed"


class MachineError(FiresideError):
    """The machine's state."""

    code = "machine_error"
    status = 503


class InsufficientMemory(MachineError):
    """Details: `need`, `free` in bytes."""

    code = "insufficient_memory"


class StillLoading(MachineError):
    """Details: `retry_after` in seconds."""

    code = "still_loading"


class NoSpace(MachineError):
    """Details: `need`, `free` in bytes."""

    code = "no_space"
    status = 507


class CacheUnavailable(MachineError):
    """Only for who manages the cache: answers go on without it."""

    code = "cache_unavailable"


class NoConnection(MachineError):
    code = "no_connection"


class Overloaded(MachineError):
    """Details: `retry_after` in seconds."""

    code = "overloaded"
    status = 429


class EngineError(FiresideError):
    """Our own fault."""

    code = "engine_error"


class WorkerCrashed(EngineError):
    """Details: `signal` or `exit_status`, and `log`, the last lines the process wrote."""

    code = "worker_crashed"
    status = 502


class WorkerHung(EngineError):
    code = "worker_hung"
    status = 502


class ShuttingDown(EngineError):
    code = "shutting_down"
    status = 503


class InternalError(EngineError):
    code = "internal_error"


def _tree(kind: type[FiresideError]) -> list[type[FiresideError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _tree(child))]


_BY_CODE = {kind.code: kind for kind in _tree(FiresideError)}
