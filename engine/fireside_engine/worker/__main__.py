"""`python -m fireside_engine.worker`: the process of one model. llama.cpp lives only here.

Speaks frames (protocol.py) on standard input and output; standard error holds what llama.cpp and this process log.
Leaves with the server: at the end of input, and on Linux also when the parent dies.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fireside_engine.errors import FiresideError
from fireside_engine.worker import kernels
from fireside_engine.worker.protocol import (
    Beat,
    Cancel,
    Command,
    Forget,
    Hold,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Reply,
    Submit,
    decode_command,
    encode_reply,
    read_frame,
)
from fireside_engine.worker.questions import Ask

if TYPE_CHECKING:
    from fireside_engine.core.step import Tokens
    from fireside_engine.worker.desk import Desk
    from fireside_engine.worker.driver import Driver
    from fireside_engine.worker.loading import Stage

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9

FLUSH_SECONDS = 1.5
"""What the disk is given for KV that waits when the process leaves."""

LEAVE_SECONDS = 1.9
"""From the end of input to the end of the process; the server waits a little longer."""

log = logging.getLogger("fireside_engine.worker")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _take_stdout() -> BinaryIO:
    """The pipe to the server, out of reach of anything that prints: standard output goes to standard error."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _expendable() -> None:
    """If memory runs out, this process goes first; and it leaves no core file with somebody's prompts in it."""
    try:
        import resource
    except ImportError:  # Windows has neither
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    except OSError:
        log.debug("no OOM score to set on this system")


def _serve(command: Load, commands: BinaryIO, write: Callable[[Reply], None]) -> int:
    """Load, then answer until the server is gone."""
    if command.options.embedding:
        from fireside_engine.worker.embedding import serve_embeddings

        return serve_embeddings(command, commands, write, 1.0)
    # Everything heavy is imported after the first command, so that a worker is there at once.
    from fireside_engine.core.scheduler import Scheduler
    from fireside_engine.worker.companion import draft_side
    from fireside_engine.worker.driver import BEAT_SECONDS, Driver
    from fireside_engine.worker.loading import load
    from fireside_engine.worker.outbox import Outbox
    from fireside_engine.worker.pools import typed

    outbox = Outbox(write)
    driver: Driver | None = None

    def pulse() -> None:
        while True:
            outbox.send(driver.beat() if driver is not None else Beat(0.0, 0, 0))
            time.sleep(BEAT_SECONDS)

    threading.Thread(target=pulse, name="pulse", daemon=True).start()
    threading.Thread(target=kernels.warm_up, name="compile", daemon=True).start()
    reported: dict[Stage, float] = {}

    def report(stage: Stage, fraction: float) -> None:
        # llama.cpp reports every tensor; a hundred steps are plenty.
        if stage not in reported or fraction >= min(1.0, reported[stage] + 0.01):
            reported[stage] = fraction
            outbox.send(Loading(stage, fraction))

    try:
        ready = load(Path(command.path), command.options, report, Path(command.draft) if command.draft else None)
        keeper = ready.keeper
        drafting = draft_side(ready, outbox.send)
        scheduler = Scheduler(ready.rules, ready.speculator)
        driver = Driver(
            scheduler, drafting.runner, ready.preparer.prepare, outbox, drafting.cache, companion=drafting.companion
        )
    except FiresideError as error:
        return _give_up(write, error)
    except Exception as error:
        log.exception("the model could not be loaded")
        return _give_up(write, typed(error, "The model could not be loaded"))

    def known(scope: bytes, tokens: Tokens) -> tuple[int, int]:
        return scheduler.held(scope, tokens), keeper.known(scope, tokens) if keeper is not None else 0

    ready.desk.look_with(known)
    outbox.send(Loaded(ready.info))
    threading.Thread(
        target=_listen, args=(commands, driver, ready.desk, outbox.send), name="inbox", daemon=True
    ).start()
    driver.run()
    if keeper is not None and not keeper.close(FLUSH_SECONDS):
        log.warning("the process left before all KV was written")
    if drafting.runner.drafter is not None:
        drafting.runner.drafter.close()
    ready.close()
    return 0


def _give_up(write: Callable[[Reply], None], error: FiresideError) -> int:
    write(LoadFailed(error.to_dict()))
    return 1


def _listen(commands: BinaryIO, driver: Driver, desk: Desk, send: Callable[[Reply], None]) -> None:
    while (body := read_frame(commands)) is not None:
        command: Command = decode_command(body)
        match command:
            case Submit(request):
                driver.submit(request)
            case Cancel(request_id):
                driver.cancel(request_id)
            case Hold(request_id, held):
                driver.hold(request_id, held=held)
            case Forget(owner, drop):
                driver.forget(owner, drop=drop)
            case Ask():
                desk.ask(command, send)
            case Load():
                log.error("a worker loads one model")
    # Nobody reads the answers any more. KV is still saved, but a batch that runs is not waited for much longer.
    driver.close()
    time.sleep(LEAVE_SECONDS)
    os._exit(0)


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _die_with_parent()
    _expendable()
    pipe = _take_stdout()
    kernels.use_own_cache()
    commands = sys.stdin.buffer

    def write(reply: Reply) -> None:
        data = memoryview(encode_reply(reply))
        try:
            while data:
                data = data[pipe.write(data) or 0 :]
        except OSError:
            os._exit(0)

    first = read_frame(commands)
    if first is None:
        return 0
    command = decode_command(first)
    if not isinstance(command, Load):
        log.error("the first command must be load")
        return 2
    return _serve(command, commands, write)


if __name__ == "__main__":
    sys.exit(main())
