"""`POST /fireside/quantize` and `/fireside/measure`: long work on files, told as a stream of events.

Each runs in a process of its own, which ends when the client goes away. What they find goes into the planner's book, so
that the next fit uses it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fireside_engine import address, errors
from fireside_engine.core.quality import BITS, Quality
from fireside_engine.core.refusal import gib
from fireside_engine.hardware import cpu
from fireside_engine.models import names
from fireside_engine.models.catalogue import Entry
from fireside_engine.server import sse
from fireside_engine.server.disconnect import ClientGone, while_connected
from fireside_engine.server.engine import Engine
from fireside_engine.server.environment import worker_environment
from fireside_engine.server.fitting import group, without_quant
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.planning import FitPlanner, Subject
from fireside_engine.server.responses import error_body
from fireside_engine.worker.protocol import LoadOptions

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "fireside_engine.worker.workshop_child")
_LONGEST_LINE = 1 << 20
_RESERVE = 256 * 1024**2
"""Bytes of the disk that stay free."""
TOKENS = 768
"""Of the text, that a measurement looks at unless asked otherwise."""

Say = Callable[[dict[str, Any]], Any]


class QuantizeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1)
    to: list[str] = Field(min_length=1, max_length=16)


class MeasureBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    models: list[str] = Field(min_length=1, max_length=32)
    against: str = ""
    text: str = Field(default="", max_length=1 << 20)
    tokens: int = Field(default=TOKENS, ge=64, le=16384)


class Workshop:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def quantize(self, request: Request) -> Job:
        """Files of the other types, into the models folder. Raises ModelNotFound, InvalidRequest."""
        body = parse(QuantizeBody, await request.body())
        entry = (await self._engine.names.find(body.model)).entry
        subject = await asyncio.to_thread(self._planner().subject, entry.path)
        return Job(self._engine, self._quantize(entry, subject, [quant.upper() for quant in body.to]))

    async def measure(self, request: Request) -> Job:
        """Raises ModelNotFound, InvalidRequest."""
        body = parse(MeasureBody, await request.body())
        entries = [(await self._engine.names.find(name)).entry for name in body.models]
        against = (await self._engine.names.find(body.against)).entry if body.against else None
        if len(entries) == 1 and against is None:
            found = group(await self._engine.names.entries())
            entries = next((own for own in found if any(e.path == entries[0].path for e in own)), entries)
        return Job(self._engine, self._measure(entries, against, body))

    def _planner(self) -> FitPlanner:
        planner = self._engine.supervisor.planner
        if not isinstance(planner, FitPlanner):
            raise errors.InternalError("This engine has no planner that keeps what is measured.")
        return planner

    # --- what they do

    async def _quantize(self, entry: Entry, subject: Subject, quants: list[str]) -> AsyncIterator[dict[str, Any]]:
        folder = address.models_dir()
        folder.mkdir(parents=True, exist_ok=True)
        stem = without_quant(entry.path.name) or names.stem(entry.path.name)
        made = []
        for quant in quants:
            target = folder / f"{stem}-{quant}.gguf"
            if target.exists():
                yield {"quant": quant, "skipped": f"{target.name} is there already."}
                continue
            need = int(subject.candidate.shape.n_params * BITS.get(quant, 16.0) / 8 * 1.05)
            if (free := shutil.disk_usage(folder).free) < need + _RESERVE:
                raise errors.InsufficientMemory(
                    f"{quant} needs about {gib(need)} of disk, and {gib(free)} are free in {folder}.",
                    hint="Free some space there.",
                    need=need,
                    free=free,
                )
            job = {"kind": "quantize", "source": str(entry.path), "target": str(target), "quant": quant}
            done: dict[str, Any] = {}
            async for event in run_child({**job, "threads": cpu.usable_cores()}):
                if "done" in event:
                    done = event["done"]
                else:
                    yield event
            await asyncio.to_thread(self._keep_origin, target, subject)
            made.append({"name": names.stem(target.name), "quant": quant, "size": done["size"]})
        note = ""
        if subject.candidate.quant not in ("F32", "F16", "BF16"):
            note = (
                f"They were made from {subject.candidate.quant}, so they carry its loss too. "
                "Files made from F16 or BF16 are better."
            )
        yield {"done": {"made": made, "note": note}}

    def _keep_origin(self, target: Path, source: Subject) -> None:
        planner = self._planner()
        planner.book.keep_origin(planner.subject(target).candidate.file, source.candidate.file)

    async def _measure(
        self, entries: list[Entry], against: Entry | None, body: MeasureBody
    ) -> AsyncIterator[dict[str, Any]]:
        planner = self._planner()
        subjects = [(entry, await asyncio.to_thread(planner.subject, entry.path)) for entry in entries]
        if against is not None:
            reference = (against, await asyncio.to_thread(planner.subject, against.path))
        else:
            reference = self._best(planner, subjects)
        others = [pair for pair in subjects if pair[0].path != reference[0].path]
        if not others:
            raise errors.InvalidRequest(
                "There is only one quantization of it, so there is nothing to compare.",
                hint=f"fireside models quantize {entries[0].name} --to Q4_0 makes another.",
            )
        for entry, _ in [reference, *others]:
            # One at a time is in memory; whatever does not fit is refused before anything is computed.
            await asyncio.to_thread(planner.plan, entry.path, LoadOptions(n_ctx=1024, n_slots=1, kv_type="f16"))
        job = {
            "kind": "measure",
            "reference": str(reference[0].path),
            "files": [str(entry.path) for entry, _ in others],
            "text": body.text or _builtin_text(),
            "tokens": body.tokens,
            "threads": cpu.threads_for_decoding(cpu.usable_cores()),
            "scratch": str(address.make_private(address.cache_dir())),
        }
        async for event in run_child(job):
            if "done" not in event:
                yield event
                continue
            table = await asyncio.to_thread(self._keep, planner, reference, others, event["done"])
            yield {"done": table}

    def _best(self, planner: FitPlanner, subjects: list[tuple[Entry, Subject]]) -> tuple[Entry, Subject]:
        """The file that stands for the original: not made here from another of them, and of the least loss."""
        made_here = planner.book.learned.made_from
        originals = [pair for pair in subjects if pair[1].candidate.file not in made_here] or subjects
        return min(originals, key=lambda pair: (pair[1].candidate.quality.kld, -pair[1].candidate.size))

    def _keep(
        self,
        planner: FitPlanner,
        reference: tuple[Entry, Subject],
        others: list[tuple[Entry, Subject]],
        done: dict[str, Any],
    ) -> dict[str, Any]:
        """Losses and speeds into the book; the table to show."""
        lost = reference[1].candidate.quality.kld
        rates = done["reference"]["rates"]
        rows = [_row(reference, rates) | {"reference": True}]
        planner.measured(reference[1], rates["seconds_per_token"])
        for pair, found in zip(others, done["files"], strict=True):
            quality = Quality(lost + found["kld"], measured=True, same_top=found["same_top"])
            planner.book.keep_quality(pair[1].candidate.file, quality)
            planner.measured(pair[1], found["rates"]["seconds_per_token"])
            rows.append(
                _row(pair, found["rates"])
                | {"kld": found["kld"], "error": found["error"], "same_top": found["same_top"], "reference": False}
            )
        return {"rows": rows, "tokens": done["tokens"], "against": reference[0].name, "reference_kld": lost}


def _row(pair: tuple[Entry, Subject], rates: dict[str, float]) -> dict[str, Any]:
    entry, subject = pair
    return {
        "name": entry.name,
        "quant": subject.candidate.quant,
        "size": entry.size,
        "tokens_per_second": 1 / rates["seconds_per_token"],
        "prompt_per_second": rates["prompt_per_second"],
    }


class Job:
    """An ASGI application that streams what an iterator says; it is left, with its process, when the client goes."""

    def __init__(self, engine: Engine, events: AsyncIterator[dict[str, Any]]) -> None:
        self._engine = engine
        self._events = events

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._stream(send))
        except ClientGone:
            log.info("a job was left by its client")

    async def _stream(self, send: Send) -> None:
        stream = sse.EventStream(send, self._engine.settings.send_timeout)
        try:
            async for event in self._events:
                if not stream.open:
                    await stream.start()
                await stream.write(sse.event(event))
            await stream.write(sse.DONE)
        except errors.FiresideError as error:
            if not stream.open:
                raise
            await stream.write(sse.event(error_body(error)))
        await stream.end()


async def run_child(job: dict[str, Any], command: tuple[str, ...] = COMMAND) -> AsyncIterator[dict[str, Any]]:
    """The lines of a child that does one job. Raises its error, or that it died. Leaving the iterator ends it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=worker_environment(os.environ, address.cache_dir()),
        start_new_session=True,
        limit=_LONGEST_LINE,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - PIPE was asked for
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
        process.stdin.close()
        finished = False
        while line := await process.stdout.readline():
            event: dict[str, Any] = json.loads(line)
            if "error" in event:
                raise errors.FiresideError.from_dict(event["error"])
            finished = finished or "done" in event
            yield event
        if not finished:
            code = await process.wait()
            raise errors.WorkerCrashed(f"The process that did it ended with status {code}.", exit_status=code)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _builtin_text() -> str:
    return (Path(__file__).parent / "measure.txt").read_text(encoding="utf-8")
