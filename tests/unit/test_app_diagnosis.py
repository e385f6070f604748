"""What the doctor says about what it finds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fireside import diagnosis
from fireside.diagnosis import Verdict, judge_probe
from fireside_engine import address


def test_a_binding_that_can_be_imported_tells_its_version() -> None:
    check = judge_probe(0, 'noise\n["0.3.36", "AVX2 = 1 |  FMA = 1", false]\n', "")
    assert check.verdict is Verdict.OK
    assert check.words == "llama-cpp-python 0.3.36, CPU only; AVX2 = 1 | FMA = 1"


def test_a_build_for_another_processor_is_named_with_the_way_out() -> None:
    check = judge_probe(-signal.SIGILL, "", "")
    assert check.verdict is Verdict.BROKEN
    assert "SIGILL" in check.words
    assert "GGML_NATIVE=ON" in check.hint


@pytest.mark.parametrize(
    ("code", "errors", "words"),
    [
        (1, "Traceback\nImportError: libgomp.so.1\n", "cannot be imported (exit status 1): ImportError: libgomp.so.1"),
        (-signal.SIGSEGV, "", "cannot be imported (signal SIGSEGV): it said nothing"),
    ],
)
def test_another_failure_of_the_binding_keeps_its_last_words(code: int, errors: str, words: str) -> None:
    check = judge_probe(code, "", errors)
    assert (check.verdict, check.words) == (Verdict.BROKEN, words)


def test_files_that_are_no_models_are_noticed(home: Path) -> None:
    address.models_dir().mkdir()
    (address.models_dir() / "good.gguf").write_bytes(b"GGUF....")
    assert diagnosis._models().verdict is Verdict.OK
    (address.models_dir() / "page.GGUF").write_bytes(b"<html>")
    check = diagnosis._models()
    assert check.verdict is Verdict.WARN
    assert "page.GGUF" in check.words
    assert "good" not in check.words


def test_a_directory_in_the_way_is_broken(home: Path) -> None:
    (home / "data").write_text("")
    verdicts = {check.name: check.verdict for check in diagnosis._directories()}
    assert verdicts == dict.fromkeys(verdicts, Verdict.OK) | {"data": Verdict.BROKEN}


def test_a_missing_package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnosis._packages().verdict is Verdict.OK
    monkeypatch.setattr(diagnosis, "NEEDED", ("numpy", "no-such-package-fs"))
    assert diagnosis._packages().words == "missing: no-such-package-fs"
    assert diagnosis._packages().verdict is Verdict.BROKEN
