"""Checks that run a program: the code of an answer against its tests, in a child process behind a fence."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from fireside.code import code_blocks
from fireside.proving import checks
from fireside.proving.checks import Check, Verdict
from fireside.wire import JsonObject

_CHILD = Path(__file__).with_name("fenced_child.py")


class Limits(NamedTuple):
    """Of one test."""

    seconds: int = 5
    """Of computing; waiting may take twice as long."""
    memory: int = 512 * 1024 * 1024
    output: int = 64 * 1024
    """Bytes."""


def judge(check: Check, answer: str, limits: Limits | None = None) -> Verdict:
    """Whether an answer passes any check."""
    match check:
        case checks.Every(parts):
            for part in parts:
                verdict = judge(part, answer, limits)
                if not verdict.passed:
                    return verdict
            return Verdict(True)
        case checks.Python(tests):
            mark = secrets.token_hex(16)
            work: JsonObject = {"code": code_of(answer), "tests": tests, "mark": mark}
            done = _run(work, limits or Limits())
            if done.verdict.passed and not done.output.endswith(mark):
                return Verdict(False, "it ended before its tests did")
            return done.verdict
        case checks.Command(words, suffix):
            return _command(words, suffix, answer, limits or Limits(seconds=60, memory=2 << 30, output=1 << 20))
        case _:
            return checks.judge(check, answer)


def code_of(answer: str) -> str:
    """The Python of an answer: its fenced blocks of Python one after the other, else of any kind, else all of it."""
    blocks = code_blocks(answer)
    chosen = [block for block in blocks if block.language in ("python", "py", "python3")] or blocks
    return "\n".join(block.text for block in chosen) if chosen else answer


class _Done(NamedTuple):
    verdict: Verdict
    output: str


def _command(words: tuple[str, ...], suffix: str, answer: str, limits: Limits) -> Verdict:
    if shutil.which(words[0]) is None:
        return Verdict(False, f"there is no program {words[0]}")
    blocks = code_blocks(answer)
    text = "\n".join(block.text for block in blocks) if blocks else answer
    file = f"answer{suffix if suffix.startswith('.') and os.sep not in suffix else '.txt'}"
    run = [word.replace("{file}", file) for word in words]
    return _run({"run": run}, limits, {file: text}).verdict


def _run(work: JsonObject, limits: Limits, files: dict[str, str] | None = None) -> _Done:
    with tempfile.TemporaryDirectory(prefix="fireside-check-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        for file, text in (files or {}).items():
            (directory / file).write_text(text, encoding="utf-8", errors="replace")
        out = directory / ".output"
        words = [sys.executable, "-I", str(_CHILD), name, *(str(value) for value in limits)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": name, "TMPDIR": name, "LANG": "C.UTF-8"}
        with out.open("wb") as stream:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=environment, start_new_session=True
            )
            try:
                process.communicate(json.dumps(work).encode(), timeout=2 * limits.seconds + 1)
            except subprocess.TimeoutExpired:
                return _Done(Verdict(False, f"it took more than {limits.seconds} s"), "")
            finally:
                _end(process)
        output = out.read_bytes()[: limits.output].decode(errors="replace")
    return _Done(_verdict(process.returncode, output, limits), output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and whatever it started; the group exists until it is waited for."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        # macOS says so of a group that only has dead members.
        process.kill()
    process.wait()


def _verdict(code: int, output: str, limits: Limits) -> Verdict:
    if code == 0:
        return Verdict(True)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Verdict(False, f"it took more than {limits.seconds} s")
    if code == -signal.SIGXFSZ:
        return Verdict(False, "it wrote too much")
    if len(output) >= limits.output:
        return Verdict(False, "it wrote too much")
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return Verdict(False, lines[-1][:200] if lines else f"it ended with {code}")
