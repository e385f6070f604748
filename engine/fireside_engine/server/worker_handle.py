"""One worker process: its pipe, its pulse and its end.

A handle lives as long as its process. Whatever ends the process, every request it held gets exactly one terminal event,
and `on_exit` hears of it once. Starting again is the business of `resident`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from fireside_engine import address, errors
from fireside_engine.core.events import Event, Failed, Finished
from fireside_engine.core.owner import Owner
from fireside_engine.core.request import Request
from fireside_engine.server.environment import worker_environment
from fireside_engine.server.settings import Settings
from fireside_engine.server.stderr_tail import StderrTail
from fireside_engine.worker.protocol import (
    Beat,
    Cancel,
    Command,
    Drafting,
    Forget,
    Happened,
    Hold,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    LoadOptions,
    ModelInfo,
    Reply,
    Submit,
    decode_reply,
    encode_command,
    frame_length,
)
from fireside_engine.worker.questions import Ask, Question, Told

log = logging.getLogger(__name__)

Deliver = Callable[[Event], None]
_LOG_LINES = 20


class WorkerHandle:
    """Made by `spawn`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        name: str,
        settings: Settings,
        on_exit: Callable[[WorkerHandle, errors.FiresideError], None],
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.info: ModelInfo | None = None
        self._process = process
        self._settings = settings
        self._on_exit = on_exit
        self._tail = StderrTail()
        self._deliver: dict[str, Deliver] = {}
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._n_asked = 0
        self._progress: Callable[[Loading], None] | None = None
        self._loaded: asyncio.Future[ModelInfo] | None = None
        self._heard = False
        self._last_beat = asyncio.get_running_loop().time()
        self._hung = False
        self._garbage = False
        self._leaving = False
        self._end: errors.FiresideError | None = None
        self._life = asyncio.create_task(self._live(), name=f"worker {self.pid}")

    @classmethod
    async def spawn(
        cls, name: str, settings: Settings, on_exit: Callable[[WorkerHandle, errors.FiresideError], None]
    ) -> WorkerHandle:
        """Raises InternalError when the process cannot be started at all."""
        try:
            process = await asyncio.create_subprocess_exec(
                *settings.worker_command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=worker_environment(os.environ, address.cache_dir()),
                # Ctrl-C in the terminal of the engine is the engine's business.
                start_new_session=True,
            )
        except OSError as error:
            raise errors.InternalError(f"No process could be started for {name}: {error.strerror or error}.") from error
        return cls(process, name, settings, on_exit)

    @property
    def alive(self) -> bool:
        return self._end is None and not self._leaving

    async def load(
        self, path: str, options: LoadOptions, progress: Callable[[Loading], None], draft: str | None = None
    ) -> ModelInfo:
        """Raises what the worker says, or how it died."""
        if self._end is not None:
            raise self._end
        self._loaded = asyncio.get_running_loop().create_future()
        self._progress = progress
        self._send(Load(path, options, draft))
        try:
            self.info = await self._loaded
        finally:
            self._loaded = self._progress = None
        return self.info

    def submit(self, request: Request, deliver: Deliver) -> None:
        """From now on `deliver` gets the events of `request`, the last of them terminal, unless it is cancelled."""
        if self._end is not None:
            deliver(Failed(request.id, self._end.to_dict()))
            return
        self._deliver[request.id] = deliver
        self._send(Submit(request))

    def cancel(self, request_id: str) -> None:
        """Stop working on it; no event of it comes any more. Harmless when it has ended."""
        if self._deliver.pop(request_id, None) is not None:
            self._send(Cancel(request_id))

    def hold(self, request_id: str, *, held: bool) -> None:
        """Draw nothing more for it, or go on. Harmless when it has ended."""
        if request_id in self._deliver:
            self._send(Hold(request_id, held))

    def forget(self, owner: Owner | None, *, drop: bool) -> None:
        """See `Forget`. A worker that is not loaded has nothing to forget."""
        if self._end is None and self.info is not None:
            self._send(Forget(owner, drop))

    async def ask(self, question: Question) -> dict[str, Any]:
        """Raises what the worker says, or how it died."""
        if self._end is not None:
            raise self._end
        self._n_asked += 1
        ask = Ask(str(self._n_asked), question)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[ask.id] = future
        self._send(ask)
        try:
            return await future
        finally:
            self._asked.pop(ask.id, None)

    async def stop(self) -> None:
        """Let the process leave: end of input first, then SIGTERM, then SIGKILL."""
        self._leaving = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        for end_it in (self._terminate, self._kill):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._life), self._settings.stop_grace)
                return
            end_it()
        await asyncio.shield(self._life)

    async def kill(self) -> None:
        """End the process now."""
        self._leaving = True
        self._kill()
        await asyncio.shield(self._life)

    # --- the life of the process

    async def _live(self) -> None:
        stderr = asyncio.create_task(self._read_stderr())
        watchdog = asyncio.create_task(self._watch())
        try:
            await self._read_replies()
        finally:
            watchdog.cancel()
            code = await self._reap()
            # A grandchild may hold the pipe open; the last words are here by then in any other case.
            await asyncio.wait({stderr}, timeout=0.5)
            stderr.cancel()
            await asyncio.gather(stderr, watchdog, return_exceptions=True)
            self._conclude(code)

    async def _read_replies(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            while True:
                body = await stdout.readexactly(frame_length(await stdout.readexactly(4)))
                self._heed(decode_reply(body))
        except asyncio.IncompleteReadError:
            return
        except (EOFError, ValidationError) as error:
            # The words of a ValidationError quote what was received, which may be text of an answer.
            log.error("worker %d of %s sent what is no reply: %s", self.pid, self.name, type(error).__name__)
            self._garbage = True
            self._kill()

    def _heed(self, reply: Reply) -> None:
        self._beat()
        match reply:
            case Happened(event):
                deliver = self._deliver.get(event.request_id)
                if isinstance(event, Finished | Failed):
                    self._deliver.pop(event.request_id, None)
                if deliver is not None:
                    deliver(event)
            case Told(id=number, answer=answer, error=error):
                asked = self._asked.get(number)
                if asked is not None and not asked.done():
                    if error is None:
                        asked.set_result(answer)
                    else:
                        asked.set_exception(errors.FiresideError.from_dict(error))
            case Beat(busy_s=busy_s):
                if busy_s > self._settings.busy_limit:
                    self._declare_hung(f"one step runs for {busy_s:.0f} s")
            case Loading():
                if self._progress is not None:
                    self._progress(reply)
            case Loaded(info):
                if self._loaded is not None and not self._loaded.done():
                    self._loaded.set_result(info)
            case Drafting(state, words, devices):
                if self.info is not None:
                    self.info = replace(self.info, draft_state=state, speculation=words, devices=devices)
            case LoadFailed(error):
                self._leaving = True
                if self._loaded is not None and not self._loaded.done():
                    self._loaded.set_exception(errors.FiresideError.from_dict(error))

    async def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - PIPE was asked for
        while chunk := await stderr.read(8192):
            self._tail.feed(chunk)
            for warning in self._tail.warnings(chunk):
                log.warning("%s (pid %d): %s", self.name, self.pid, warning)

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        interval = min(1.0, self._settings.beat_timeout / 4)
        while True:
            before = clock()
            await asyncio.sleep(interval)
            if clock() - before > interval + 1.0:
                # This process itself stood still, so beats may lie unread in the pipe.
                self._beat(heard=self._heard)
            silent = clock() - self._last_beat
            limit = self._settings.beat_timeout if self._heard else self._settings.start_grace
            if silent > limit:
                self._declare_hung(f"no sign of life for {silent:.0f} s")

    def _beat(self, *, heard: bool = True) -> None:
        self._heard = heard
        self._last_beat = asyncio.get_running_loop().time()

    def _declare_hung(self, why: str) -> None:
        if self._hung or self._end is not None:
            return
        log.error("worker %d of %s hangs: %s", self.pid, self.name, why)
        self._hung = True
        self._terminate()
        asyncio.get_running_loop().call_later(self._settings.stop_grace, self._kill)

    def _terminate(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def _kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _reap(self) -> int:
        """The exit status. The pipe is closed, so there is no use in a process that stays."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            return await asyncio.wait_for(self._process.wait(), self._settings.stop_grace)
        except TimeoutError:
            self._kill()
            return await self._process.wait()

    def _conclude(self, code: int) -> None:
        self._end = self._verdict(code)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(self._end)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(self._end)
        failed, self._deliver = self._deliver, {}
        for request_id, deliver in failed.items():
            deliver(Failed(request_id, self._end.to_dict()))
        if not self._leaving:
            log.error("%s Last words: %s", self._end.message, " | ".join(self._tail.lines(_LOG_LINES)) or "none")
            self._on_exit(self, self._end)

    def _verdict(self, code: int) -> errors.FiresideError:
        details: dict[str, Any] = {"log": self._tail.lines(_LOG_LINES)}
        again = "The next request starts it again."
        if self._hung:
            return errors.WorkerHung(
                f"The process of {self.name} stopped answering and was ended.", hint=again, **details
            )
        if self._leaving:
            return errors.ShuttingDown(f"{self.name} was unloaded.", hint=again)
        if self._garbage:
            return errors.WorkerCrashed(
                f"The process of {self.name} sent garbage and was ended.", hint=again, **details
            )
        if code >= 0:
            message = f"The process of {self.name} left with status {code}."
            return errors.WorkerCrashed(message, hint=again, exit_status=code, **details)
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            again = f"The system may have run out of memory. {again}"
        return errors.WorkerCrashed(f"The process of {self.name} died ({name}).", hint=again, signal=name, **details)

    def _send(self, command: Command) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(encode_command(command))
