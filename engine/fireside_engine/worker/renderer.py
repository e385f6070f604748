"""Chat messages to text by the model's own template, which runs in a child process that may be killed.

A hostile template (endless loops, memory bombs) costs that child and a TemplateFailed, nothing else. The child is
started while the model loads, serves many renderings, and leaves when its input ends, so also when this process dies.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from fireside_engine.core.fallback_template import PLAIN
from fireside_engine.core.request import ChatPrompt
from fireside_engine.core.strict_turns import TurnDict, keeping_system, rewritings, system_was_dropped, turn_dicts
from fireside_engine.core.template_text import ControlTexts, Guard, Segment, plain_text
from fireside_engine.errors import FiresideError, InternalError, TemplateFailed
from fireside_engine.worker.protocol import read_frame

RENDER_SECONDS = 2.0
START_SECONDS = 20.0
"""From asking for a child until it has compiled the template; the machine may be busy loading the model."""

MAX_TEMPLATE = 256 << 10

_HEADER = struct.Struct("<I")
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_TIME", "LD_LIBRARY_PATH", "SYSTEMROOT")
_HINT = "The template in this file is broken or hostile; try another build of the model."

REFUSED = "refused"
"""`details["cause"]` of a TemplateFailed: the template did not like these messages; others may pass."""
LIMIT = "limit"
SYNTAX = "syntax"


class Renderer:
    """One template in one child process. Thread-safe: renderings queue up. Nothing is started before it is needed."""

    def __init__(self, template: str | None, bos: str, eos: str, *, deadline: float = RENDER_SECONDS) -> None:
        """`template` None stands for plain "User:" and "Assistant:" lines."""
        self._template = PLAIN if template is None else template
        self._bos = bos
        self._eos = eos
        self._deadline = deadline
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        """The child has said that the template compiles."""
        self._unusable: TemplateFailed | None = None
        """Why the template cannot even be compiled; it is not tried again."""
        self._is_closed = False

    def start(self) -> None:
        """Start the child without waiting for it. What is wrong with the template is told by `render`."""
        with self._lock:
            if not self._is_closed and self._oversize() is None:
                self._spawn()

    def render(
        self,
        messages: Sequence[TurnDict],
        tools: Sequence[dict[str, Any]] | None,
        add_generation_prompt: bool,
        args: dict[str, Any],
    ) -> str:
        """The text of a conversation. Raises TemplateFailed, with `cause` in its details: refused, limit or syntax."""
        request = {
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
            "args": args,
        }
        with self._lock:
            if self._is_closed:
                raise InternalError("A chat template was asked to render after it was closed.")
            self._ready()
            answer = self._exchange(request, self._deadline)
        if "error" in answer:
            raise self._failure(answer)
        return str(answer["text"])

    def close(self) -> None:
        """End the child. Idempotent."""
        with self._lock:
            self._is_closed = True
            self._drop(kill=True)

    # --- the child, under the lock

    def _oversize(self) -> TemplateFailed | None:
        size = len(self._template.encode("utf-8", "surrogatepass"))
        if size <= MAX_TEMPLATE:
            return None
        words = f"The model's chat template has {size} bytes; at most {MAX_TEMPLATE} are accepted."
        return TemplateFailed(words, hint=_HINT, cause=LIMIT)

    def _ready(self) -> None:
        if self._unusable is None:
            self._unusable = self._oversize()
        if self._unusable is not None:
            raise self._unusable
        if self._child is not None and self._child.poll() is not None:
            self._drop()
        self._spawn()
        if self._is_ready:
            return
        try:
            answer = self._exchange(None, START_SECONDS)
            if "error" in answer:
                self._drop()
                raise self._failure(answer)
        except TemplateFailed as error:
            self._unusable = error
            raise
        self._is_ready = True

    def _spawn(self) -> None:
        if self._child is not None:
            return
        environment = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
        # -P: what lies in the working directory must not stand in for a module. The paths of this process still count.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "fireside_engine.worker.render_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._is_ready = False
        # A child that dies at once is noticed by whoever reads its answer.
        self._write({"template": self._template, "bos": self._bos, "eos": self._eos})

    def _exchange(self, request: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
        """Send a request, if any, and wait for the next answer; a child that misses the deadline is killed."""
        child = self._child
        if child is None:
            raise InternalError("The process for chat templates is missing.")
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            if request is not None:
                self._write(request)
            body = _read(child.stdout)
        finally:
            timer.cancel()
        if body is None or is_late.is_set():
            status = self._drop(kill=True)
            raise self._death(is_late.is_set(), seconds, status)
        answer: dict[str, Any] = json.loads(body)
        if answer.get("cause") == LIMIT:
            # Memory that was taken to its limit may not all come back.
            self._drop(kill=True)
        return answer

    def _write(self, frame: dict[str, Any]) -> None:
        child = self._child
        if child is None or child.stdin is None:
            return
        body = json.dumps(frame).encode()
        try:
            child.stdin.write(_HEADER.pack(len(body)) + body)
            child.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # the end of its output, which is read next, tells the same

    def _drop(self, *, kill: bool = False) -> int | None:
        """Let go of the child; returns its exit status."""
        child, self._child = self._child, None
        self._is_ready = False
        if child is None:
            return None
        if kill:
            child.kill()
        for pipe in (child.stdin, child.stdout):
            _close(pipe)
        try:
            return child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _death(self, late: bool, seconds: float, status: int | None) -> FiresideError:
        if late and self._deadline == seconds:
            words = f"The model's chat template did not finish within {seconds:g} seconds."
        elif late:
            return InternalError(f"The process for chat templates did not start within {seconds:g} seconds.")
        elif status is not None and status < 0:
            words = f"The model's chat template killed its process (signal {-status})."
        else:
            return InternalError(f"The process for chat templates ended with status {status}.")
        return TemplateFailed(words, hint=_HINT, cause=LIMIT)

    @staticmethod
    def _failure(answer: dict[str, Any]) -> TemplateFailed:
        cause = answer.get("cause", REFUSED)
        if cause == REFUSED:
            return TemplateFailed(
                f"The model's chat template refused the messages: {str(answer['error']).rstrip('.')}.",
                hint="Check the roles and the order of the messages.",
                cause=REFUSED,
            )
        what = "is not valid Jinja" if cause == SYNTAX else "broke a limit"
        return TemplateFailed(f"The model's chat template {what}: {answer['error']}.", hint=_HINT, cause=cause)


def _read(stream: IO[bytes] | None) -> bytes | None:
    try:
        return None if stream is None else read_frame(stream)
    except (EOFError, ValueError):
        return None


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is None:
        return
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what was not yet written is not wanted any more


def render_chat(renderer: Renderer, controls: ControlTexts, prompt: ChatPrompt) -> list[Segment]:
    """The prompt of a conversation, cut where somebody wrote the text of a control token.

    The messages are given as they are. Only if the template raises on them, or renders but ignores a system message,
    are they rewritten, mildest first (`core/strict_turns.py`); if nothing helps, its first word is the error.
    """
    guard = Guard(controls)
    tools = guard.protect(list(prompt.tools)) or None
    args = guard.protect(prompt.template_args)

    def attempt(turns: list[TurnDict]) -> list[Segment]:
        return guard.split(renderer.render(guard.protect(turns), tools, prompt.add_generation_prompt, args))

    turns = prompt.messages
    try:
        segments = attempt(turn_dicts(turns))
    except TemplateFailed as error:
        if error.details.get("cause") != REFUSED:
            raise
        rewritten = _first(attempt, rewritings(turns))
        if rewritten is None:
            raise
        return rewritten
    if system_was_dropped(turns, plain_text(segments)):
        for offer in keeping_system(turns):
            kept = _first(attempt, [offer])
            if kept is not None and not system_was_dropped(turns, plain_text(kept)):
                return kept
    return segments


Attempt = Callable[[list[TurnDict]], list[Segment]]


def _first(attempt: Attempt, offers: Iterable[list[TurnDict]]) -> list[Segment] | None:
    """The first offer that the template accepts; None when it refuses all, or takes its time about it."""
    until = time.monotonic() + 2 * RENDER_SECONDS
    for offer in offers:
        if time.monotonic() > until:
            return None
        try:
            segments = attempt(offer)
        except TemplateFailed as error:
            if error.details.get("cause") != REFUSED:
                raise
        else:
            return segments
    return None
