"""Which errors what part of the server raises: the reasons for the statuses in the OpenAPI document."""

from __future__ import annotations

from fireside_engine import errors
from fireside_engine.errors import FiresideError

Errors = tuple[type[FiresideError], ...]

GATE: Errors = (errors.Forbidden, errors.InvalidRequest, errors.TooLarge, errors.Overloaded)
"""Before any route: host, origin, length of the body, what is held of bodies."""

BODY: Errors = (errors.InvalidRequest, errors.TooLarge)
OWNED: Errors = (errors.Unauthorized,)
NAMED: Errors = (errors.ModelNotFound, errors.NotAModel, errors.InvalidRequest)
LOADING: Errors = (
    *NAMED,
    errors.ModelUnsupported,
    errors.NotSupported,
    errors.Overloaded,
    errors.InsufficientMemory,
    errors.WorkerCrashed,
    errors.WorkerHung,
    errors.StillLoading,
    errors.ShuttingDown,
)
GENERATING: Errors = (*LOADING, errors.ContextExceeded, errors.InvalidConstraint, errors.TemplateFailed)
CACHE: Errors = (errors.CacheUnavailable,)
TRANSFERS: Errors = (errors.AccessDenied, errors.NoConnection, errors.NoSpace, errors.WrongBytes)
