"""Runs a pull: the engine's process that fetches one model, and what it tells. For the command and for the screens.

The process is a session of its own, so that an interruption reaches it once and only through us. Whatever ends it, what
it fetched stays, and the next pull of the same model goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import IO, cast

from fireside.exit_codes import ExitCode
from fireside.failure import Failure, from_engine
from fireside.sanitize import clean
from fireside.table import duration, size
from fireside.wire import EngineFailure, JsonObject
from fireside_engine import address

END_LIMIT = 10.0
"""Seconds for an interrupted pull to end; it writes nothing but what it holds."""
_TAIL = 2000


class Pull:
    """One pull that runs. Iterate over `events`; leaving the `with` ends it."""

    def __init__(
        self, target: str, *, quant: str = "", check: bool = False, dry_run: bool = False, peek: bool = False
    ) -> None:
        self._process = subprocess.Popen(
            address.pull_command(target, quant=quant, check=check, dry_run=dry_run, peek=peek),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._out, self._err = cast(IO[bytes], self._process.stdout), cast(IO[bytes], self._process.stderr)

    def __enter__(self) -> Pull:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def events(self) -> Iterator[JsonObject]:
        """Its events as they come; the last is `done`, `choice` or `peeked`. Raises Failure when it failed."""
        last: JsonObject = {}
        for line in self._out:
            last = json.loads(line)
            if last["event"] == "error":
                error = last["error"]
                raise from_engine(EngineFailure({**error, **error.get("details", {})}))
            yield last
        if last.get("event") not in ("done", "choice", "peeked"):
            raise self._died()

    def cancel(self) -> None:
        """End it, if it still runs; what was fetched stays. Safe from another thread."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._out, self._err):
            with contextlib.suppress(OSError):
                stream.close()

    def _died(self) -> Failure:
        said = clean(self._err.read()[-_TAIL:].decode(errors="replace"))
        code = self._process.wait()
        if code == ExitCode.INTERRUPTED:
            return Failure("Interrupted.", ExitCode.INTERRUPTED)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        hint = "\n".join(["What it fetched is kept: the same command continues.", *said.splitlines()])
        return Failure(f"The process that fetches ended ({how}).", ExitCode.FAILED, hint=hint, code="pull_died")


def peek(target: str, status: Callable[[str], None]) -> JsonObject:
    """What `/fireside/fit` has to know of a model that is not here: its header, and what else its repository has.

    Raises Failure.
    """
    return to_fit(peeked(target, status))


def peeked(target: str, status: Callable[[str], None]) -> JsonObject:
    """All that a header and its repository tell, with `there`: the path of the usual file where it is here already.

    Raises Failure.
    """
    status(f"asking the hub about {target}")
    with Pull(target, peek=True) as pull:
        for event in pull.events():
            if event["event"] == "peeked":
                return event
    raise Failure(f"The hub says nothing of {target}.", ExitCode.MODEL)


def to_fit(event: JsonObject) -> JsonObject:
    return {"header": event["header"], "files": [file for file in event["models"] if file["quant"]]}


def describe(event: JsonObject) -> str:
    """One line about how far it is."""
    stage, what = event["stage"], event["what"]
    done, total = event["done"], event["total"]
    if stage == "looking":
        return f"looking at {what}"
    words = {"waiting": "waiting for", "checking": "comparing the checksum of"}.get(stage, "fetching")
    line = f"{words} {what}"
    if total:
        line += f"  {done / total:.0%}  {size(done)} of {size(total)}"
    if event.get("note"):
        return f"{line}  {event['note']}"
    if event.get("rate"):
        line += f"  {size(event['rate'])}/s"
    if event.get("seconds_left") is not None:
        line += f"  {duration(event['seconds_left'])} left"
    return line
