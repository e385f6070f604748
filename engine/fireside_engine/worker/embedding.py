"""The life of a worker that makes embeddings: one text after the other, no conversations.

It is a process of its own even where the same file also chats: models for embeddings are small, and the loop that
decodes stays free of a second context.
"""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from fireside_engine.core.events import Failed
from fireside_engine.errors import FiresideError, InternalError, InvalidRequest
from fireside_engine.hardware import cpu, memory
from fireside_engine.llama import library
from fireside_engine.llama.embedder import Embedder
from fireside_engine.llama.model import Model
from fireside_engine.models.gguf import read_header
from fireside_engine.worker.outbox import Outbox
from fireside_engine.worker.pools import typed
from fireside_engine.worker.protocol import (
    Beat,
    Happened,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    ModelInfo,
    Reply,
    Submit,
    decode_command,
    read_frame,
)
from fireside_engine.worker.questions import Ask, Embed, Told

log = logging.getLogger(__name__)


class Pulse:
    """Beats every second, and tells how long the present text takes."""

    def __init__(self, outbox: Outbox, seconds: float) -> None:
        self._outbox = outbox
        self._seconds = seconds
        self.since: float | None = None
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def _run(self) -> None:
        while True:
            since = self.since
            self._outbox.send(Beat(0.0 if since is None else time.perf_counter() - since, int(since is not None), 0))
            time.sleep(self._seconds)


def serve_embeddings(command: Load, commands: BinaryIO, write: Callable[[Reply], None], beat_seconds: float) -> int:
    """Load, then answer until the server is gone."""
    outbox = Outbox(write)
    pulse = Pulse(outbox, beat_seconds)
    try:
        embedder, info = load_embedder(Path(command.path), command.options.n_threads, outbox)
    except FiresideError as error:
        write(LoadFailed(error.to_dict()))
        return 1
    except Exception as error:
        log.exception("the model could not be loaded")
        write(LoadFailed(typed(error, "The model could not be loaded").to_dict()))
        return 1
    outbox.send(Loaded(info))
    while (body := read_frame(commands)) is not None:
        match decode_command(body):
            case Ask(id=number, question=Embed() as question):
                pulse.since = time.perf_counter()
                outbox.send(_told(number, embedder, question))
                pulse.since = None
            case Ask(id=number):
                outbox.send(Told(number, error=InvalidRequest("This model makes embeddings only.").to_dict()))
            case Submit(request):
                refusal = InvalidRequest("This model makes embeddings only.")
                outbox.send(Happened(Failed(request.id, refusal.to_dict())))
    # Nobody reads the answers any more.
    os._exit(0)


def load_embedder(path: Path, n_threads: int | None, outbox: Outbox | None = None) -> tuple[Embedder, ModelInfo]:
    """Raises NotAModel, ModelUnsupported, InsufficientMemory."""
    started = time.perf_counter()
    header = read_header(path)

    def progress(fraction: float) -> None:
        if outbox is not None:
            outbox.send(Loading("reading", fraction))

    model = Model(path, progress=progress)
    threads = n_threads or cpu.threads_for_decoding(cpu.usable_cores())
    embedder = Embedder(model, threads)
    info = ModelInfo(
        architecture=header.architecture,
        description=model.description,
        n_params=model.n_params,
        size=model.size,
        n_ctx=embedder.longest,
        n_ctx_train=model.n_ctx_train,
        n_slots=1,
        n_vocab=model.n_vocab,
        n_threads=threads,
        kv_type="f16",
        exact_window=1,
        deterministic=False,
        has_template=False,
        memory=memory.rss(os.getpid()),
        load_ms=(time.perf_counter() - started) * 1e3,
        build=library.build(),
        cache="off: embeddings keep no conversation",
    )
    return embedder, info


def _told(number: str, embedder: Embedder, question: Embed) -> Told:
    try:
        return Told(number, answer(embedder, question))
    except FiresideError as error:
        return Told(number, error=error.to_dict())
    except Exception as error:
        log.exception("an embedding could not be made")
        return Told(number, error=InternalError(f"The embedding failed ({type(error).__name__}).").to_dict())


def answer(embedder: Embedder, question: Embed) -> dict[str, Any]:
    """Raises InvalidRequest."""
    vectors, counts = [], []
    for given in question.inputs:
        tokens = embedder.tokens(given) if isinstance(given, str) else list(given)
        if any(not 0 <= token < embedder.model.n_vocab for token in tokens):
            raise InvalidRequest(f"input: tokens of this model are below {embedder.model.n_vocab}.", param="input")
        vectors.append(base64.b64encode(embedder.embed(tokens).astype("<f4").tobytes()).decode("ascii"))
        counts.append(len(tokens))
    return {"vectors": vectors, "counts": counts}
