"""Finds this user's engine, starts one when none runs, and stops it.

Who is the engine is decided by two things only: the lock that an engine holds while it lives, and the proof that a
listener knows the owner's token. A record of a dead engine, or another program on its port, has neither. Two clients
that start together may start two engines; the lock lets one live, and both clients find that one.
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.sanitize import clean
from fireside.waking import wake
from fireside.wire import Endpoint, EngineFailure
from fireside_engine import address

Say = Callable[[str], None]

HELLO_TIMEOUT = 5.0
"""Seconds for an engine to say who it is; it answers in milliseconds, even while models load."""
START_LIMIT = 60.0
"""Seconds for a new engine to listen. Only its own imports happen before that, no model is loaded."""
WAKE_LIMIT = 20.0
"""Seconds for a service to start it; then another program has the port of the service."""
STOP_LIMIT = 30.0
"""Seconds for an engine to finish what it was asked before."""
KILL_LIMIT = 5.0
POLL = 0.05
MAX_LOG = 1024 * 1024
"""Bytes of `engine.out` above which a new engine begins a new file."""
TAIL_LINES = 15

_started: list[subprocess.Popen[bytes]] = []
"""Engines of ours, kept so that a program that outlives them can reap them."""


def _silent(_text: str) -> None:
    """For callers that show nothing."""


def output_path() -> Path:
    """What engines wrote to their standard output and error."""
    return address.log_dir() / "engine.out"


def find(*, any_protocol: bool = False) -> Endpoint | None:
    """The engine that runs, with the owner's token; None if none answers to its name.

    Raises Failure when one runs that this client cannot talk to, unless `any_protocol`.
    """
    record, token = address.read_record(), address.read_token()
    if record is None or token is None:
        return None
    stranger = Endpoint(record.host, record.port)
    nonce = secrets.token_urlsafe(16)
    try:
        hello = EngineClient(stranger).get(f"/fireside/hello?nonce={nonce}", timeout=HELLO_TIMEOUT)
    except EngineFailure:
        # Nobody, or somebody else: in both cases not our engine, and the record is stale.
        return None
    if not hmac.compare_digest(str(hello.get("proof")).encode(), address.prove(token, nonce).encode()):
        return None
    version = str(hello.get("version", ""))
    if hello.get("protocol") != address.PROTOCOL and not any_protocol:
        raise Failure(
            f"An engine of another version runs (pid {record.pid}): {version}, this is {address.client_version()}.",
            ExitCode.ENGINE,
            hint="`fireside stop` ends it; then try again.",
            code="engine_version",
        )
    return stranger._replace(token=token, version=version)


def connect(*, status: Say = _silent, note: Say = _silent) -> Endpoint:
    """The engine of this user, started if none runs. Blocks until it listens. Raises Failure.

    `status` hears what is being waited for, `note` what the user should know afterwards.
    """
    endpoint = find()
    if endpoint is None:
        with _files_in_words():
            endpoint = _start(status)
    if endpoint.version != address.client_version():
        note(
            f"fireside: the running engine is version {endpoint.version}, this is {address.client_version()}; "
            "`fireside stop` lets the next request start the new one"
        )
    return endpoint


def _start(status: Say) -> Endpoint:
    status("starting the engine")
    deadline = time.monotonic() + START_LIMIT
    if wake():
        woken = time.monotonic() + WAKE_LIMIT
        while time.monotonic() < woken:
            if endpoint := find():
                return endpoint
            time.sleep(POLL)
    begin, process = _spawn()
    retries = 1
    while time.monotonic() < deadline:
        if endpoint := find():
            return endpoint
        if process.poll() is not None and not lock_is_held():
            # It may have made way for another engine that left since, or for a client that looked at the lock.
            if retries == 0:
                raise _died(process, begin)
            retries -= 1
            begin, process = _spawn()
        time.sleep(POLL)
    raise Failure(
        "The engine did not answer in time.",
        ExitCode.ENGINE,
        hint=f"`fireside stop` ends it; then try again. Its output is in {output_path()}.",
        code="engine_start",
    )


def _spawn() -> tuple[int, subprocess.Popen[bytes]]:
    """A new engine, detached from this terminal, and where its output begins in the file."""
    _started[:] = [process for process in _started if process.poll() is None]
    address.make_private(address.runtime_dir())
    path = output_path()
    address.make_private(path.parent)
    if path.exists() and path.stat().st_size > MAX_LOG:
        path.replace(path.with_suffix(".out.old"))
    with path.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            address.engine_command(port="auto"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path.home(),
            start_new_session=True,
        )
    _started.append(process)
    return begin, process


def _died(process: subprocess.Popen[bytes], begin: int) -> Failure:
    with output_path().open("rb") as output:
        output.seek(begin)
        lines = clean(output.read(MAX_LOG).decode(errors="replace")).splitlines()[-TAIL_LINES:]
    where = f"Its output is in {output_path()}:" if lines else f"It wrote nothing to {output_path()}."
    code = process.returncode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return Failure(
        f"The engine ended while it started ({how}).",
        ExitCode.ENGINE,
        hint="\n".join([where, *(f"  {line}" for line in lines)]),
        code="engine_start",
    )


def lock_is_held() -> bool:
    """Whether some engine lives, answering or not."""
    import fcntl

    try:
        descriptor = os.open(address.lock_path(), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def stop(*, status: Say = _silent) -> bool:
    """End the engine of this user, whatever its version. False if none ran. Raises Failure if it does not end."""
    endpoint = find(any_protocol=True)
    record = address.read_record()
    if endpoint is None and not lock_is_held():
        return False
    status("stopping the engine")
    if endpoint is not None:
        try:
            EngineClient(endpoint).post("/fireside/stop", timeout=STOP_LIMIT)
        except EngineFailure as failure:
            if failure.code not in (EngineFailure.GONE, EngineFailure.UNREACHABLE):
                raise
        if _lock_is_released(STOP_LIMIT):
            return True
    for number, limit in ((signal.SIGTERM, KILL_LIMIT), (signal.SIGKILL, KILL_LIMIT)):
        if record is not None and _is_engine(record.pid):
            os.kill(record.pid, number)
            if _lock_is_released(limit):
                return True
    raise Failure(
        "The engine does not end.",
        ExitCode.ENGINE,
        hint=f"Find the process that holds {address.lock_path()} and end it.",
        code="engine_stop",
    )


def _lock_is_released(limit: float) -> bool:
    deadline = time.monotonic() + limit
    while lock_is_held():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _is_engine(pid: int) -> bool:
    """Whether the process is an engine; its number may have gone to another program since."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        if sys.platform.startswith("linux"):
            return False
        words = subprocess.run(["/bin/ps", "-o", "args=", "-p", str(pid)], capture_output=True, check=False).stdout
    return b"fireside" in words


@contextmanager
def _files_in_words() -> Iterator[None]:
    """A runtime or log directory that cannot be used is a matter of configuration, not a defect."""
    try:
        yield
    except OSError as cause:
        raise Failure(
            f"The engine cannot be started: {cause}.",
            ExitCode.USAGE,
            hint=f"{address.runtime_dir()} must be yours and writable; {address.HOME_VARIABLE} moves it.",
            code="runtime_directory",
        ) from cause
