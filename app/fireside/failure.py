"""How a command ends badly: words for the user, and an exit code.

Everything that can go wrong becomes a `Failure` before it leaves a command, so that one place prints it and no
traceback ever reaches a terminal.
"""

from __future__ import annotations

from fireside.exit_codes import ExitCode
from fireside.wire import EngineFailure, JsonObject
from fireside_engine import errors

LOG_LINES = 12
"""Of a crashed worker's log, shown with its error."""


class Failure(Exception):
    """What ends a command."""

    def __init__(
        self, message: str, exit_code: ExitCode, *, hint: str = "", code: str = "", error: JsonObject | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint
        """What to do next; may have several lines."""
        self.code = code or exit_code.name.lower()
        """For programs that read `--json`."""
        self.error = error or {}
        """The engine's own error object, where it was the engine that failed."""

    def to_json(self) -> JsonObject:
        own = {"message": self.message, "code": self.code, "hint": self.hint, "exit_code": int(self.exit_code)}
        return {"error": {**self.error, **own}}


class TimeLimitError(BaseException):
    """The time of `--timeout` passed. Raised anywhere, and no Exception, so that nobody but main keeps it."""


_BY_KIND: dict[type[errors.FiresideError], ExitCode] = {
    errors.FiresideError: ExitCode.FAILED,
    errors.RequestError: ExitCode.USAGE,
    errors.ContextExceeded: ExitCode.CONTEXT,
    errors.TooLarge: ExitCode.CONTEXT,
    errors.ModelNotFound: ExitCode.MODEL,
    errors.AccessDenied: ExitCode.MODEL,
    errors.ModelError: ExitCode.MODEL,
    errors.InsufficientMemory: ExitCode.MODEL,
    errors.NoSpace: ExitCode.MODEL,
    errors.NoConnection: ExitCode.MODEL,
    errors.MachineError: ExitCode.ENGINE,
    errors.EngineError: ExitCode.ENGINE,
    errors.InternalError: ExitCode.FAILED,
}
"""The nearest class in an error's tree decides, so that a new error has an exit code from its first day."""


def exit_code_of(failure: EngineFailure) -> ExitCode:
    if failure.code in (EngineFailure.UNREACHABLE, EngineFailure.GONE):
        return ExitCode.ENGINE
    kind = type(errors.FiresideError.from_dict({"code": failure.code}))
    return next(_BY_KIND[ancestor] for ancestor in kind.__mro__ if ancestor in _BY_KIND)


def from_engine(failure: EngineFailure) -> Failure:
    """The engine's error as the user meets it; a dead worker's last words belong to it."""
    hint = failure.hint
    log = failure.error.get("log")
    lines = log.splitlines() if isinstance(log, str) else [str(line) for line in log] if isinstance(log, list) else []
    if lines:
        hint = "\n".join([*filter(None, [hint]), "Its last lines:", *(f"  {line}" for line in lines[-LOG_LINES:])])
    return Failure(failure.message, exit_code_of(failure), hint=hint, code=failure.code, error=failure.error)
