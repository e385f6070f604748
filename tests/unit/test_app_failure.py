"""Every error of the engine has an exit code, and words."""

from __future__ import annotations

import pytest

from fireside.exit_codes import ExitCode
from fireside.failure import exit_code_of, from_engine
from fireside.wire import EngineFailure
from fireside_engine import errors

EXPECTED = {
    errors.InvalidRequest: 2,
    errors.ContextExceeded: 5,
    errors.InvalidConstraint: 2,
    errors.Unauthorized: 2,
    errors.Forbidden: 2,
    errors.AccessDenied: 4,
    errors.ModelNotFound: 4,
    errors.NotFound: 2,
    errors.NotSupported: 2,
    errors.TooLarge: 5,
    errors.NotAModel: 4,
    errors.ModelUnsupported: 4,
    errors.TemplateFailed: 4,
    errors.WrongBytes: 4,
    errors.InsufficientMemory: 4,
    errors.NoSpace: 4,
    errors.NoConnection: 4,
    errors.CacheUnavailable: 3,
    errors.StillLoading: 3,
    errors.Overloaded: 3,
    errors.WorkerCrashed: 3,
    errors.WorkerHung: 3,
    errors.ShuttingDown: 3,
    errors.InternalError: 1,
}


def leaves(kind: type[errors.FiresideError]) -> set[type[errors.FiresideError]]:
    # Modules of the engine refine these without a code of their own; which of them are loaded is chance.
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return {leaf for child in children for leaf in leaves(child)} if children else {kind}


def test_no_error_was_forgotten() -> None:
    assert set(EXPECTED) == leaves(errors.FiresideError)


@pytest.mark.parametrize(("kind", "code"), EXPECTED.items(), ids=lambda value: getattr(value, "__name__", value))
def test_exit_code_of_each_error(kind: type[errors.FiresideError], code: int) -> None:
    assert exit_code_of(EngineFailure({"code": kind.code, "message": "x"}, kind.status)) == code


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(EngineFailure.GONE, 3), (EngineFailure.UNREACHABLE, 3), ("from_the_future", 1), ("", 1)],
)
def test_exit_code_of_what_is_no_error_of_the_engine(code: str, exit_code: int) -> None:
    assert exit_code_of(EngineFailure({"code": code})) == exit_code


@pytest.mark.parametrize("log", [["one", "two"], "one\ntwo"])
def test_a_crash_shows_the_last_lines_of_the_log(log: object) -> None:
    failure = from_engine(
        EngineFailure({"code": "worker_crashed", "message": "It died.", "hint": "Again.", "log": log})
    )
    assert failure.hint == "Again.\nIts last lines:\n  one\n  two"
    assert failure.exit_code is ExitCode.ENGINE


def test_a_failure_as_json_keeps_the_details() -> None:
    failure = from_engine(
        EngineFailure({"code": "context_exceeded", "message": "Long.", "n_ctx": 8, "n_prompt_tokens": 9})
    )
    assert failure.to_json() == {
        "error": {
            "message": "Long.",
            "code": "context_exceeded",
            "hint": "",
            "exit_code": 5,
            "n_ctx": 8,
            "n_prompt_tokens": 9,
        }
    }


def test_every_exit_code_has_its_sentence() -> None:
    assert len({code.sentence for code in ExitCode}) == len(ExitCode)
