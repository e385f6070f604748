"""llama-server's own endpoints, for editors that were written for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from fireside_engine import __version__
from fireside_engine.core.request import SamplingParams
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.asking import ask
from fireside_engine.server.early_end import EarlyEnd
from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.llamacpp_answer import RawAnswer, settings_body
from fireside_engine.server.llamacpp_request import RawCall, completion_call, infill_call, texts_with_bias
from fireside_engine.server.llamacpp_schema import (
    CompletionBody,
    DetokenizeBody,
    InfillBody,
    RawBody,
    TokenizeBody,
)
from fireside_engine.server.meter import Meter
from fireside_engine.server.openai_chat import LARGE
from fireside_engine.server.openai_request import template_prompt
from fireside_engine.server.openai_schema import ChatBody, parse
from fireside_engine.server.resident import Resident
from fireside_engine.server.responses import json_response
from fireside_engine.worker.questions import Describe, Detokenize, Render, Tokenize

Body = TypeVar("Body", bound=RawBody)


class LlamaCpp:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started = time.time()

    # --- generating

    async def completion(self, request: Request) -> ASGIApp:
        return await self._generate(CompletionBody, completion_call, await request.body())

    async def infill(self, request: Request) -> ASGIApp:
        return await self._generate(InfillBody, infill_call, await request.body())

    async def _generate(
        self, kind: type[Body], translate: Callable[[Body, dict[str, tuple[int, ...]]], RawCall], data: bytes
    ) -> ASGIApp:
        body = await asyncio.to_thread(parse, kind, data) if len(data) > LARGE else parse(kind, data)
        route = await self._engine.names.find(body.model or "")
        biased: dict[str, tuple[int, ...]] = {}
        for text in texts_with_bias(body):
            biased[text] = tuple((await ask(self._engine, route.entry, Tokenize(text)))["tokens"])
        call = translate(body, biased)
        meter = Meter()
        early = EarlyEnd(call.predict_ms, call.indent, meter) if call.predict_ms or call.indent else None
        return Exchange(self._engine, call, route, RawAnswer(call, route.entry.name, meter), meter, early)

    # --- asking

    async def tokenize(self, request: Request) -> Response:
        body = parse(TokenizeBody, await request.body())
        entry = await self._entry(body.model)
        question = Tokenize(body.content, bool(body.add_special), body.parse_special is not False)
        answer = await ask(self._engine, entry, question)
        if body.with_pieces:
            pairs = zip(answer["tokens"], answer["pieces"], strict=True)
            return json_response({"tokens": [{"id": token, "piece": piece} for token, piece in pairs]})
        return json_response({"tokens": answer["tokens"]})

    async def detokenize(self, request: Request) -> Response:
        body = parse(DetokenizeBody, await request.body())
        entry = await self._entry(body.model)
        answer = await ask(self._engine, entry, Detokenize(tuple(body.tokens)))
        return json_response({"content": answer["text"]})

    async def apply_template(self, request: Request) -> Response:
        body = parse(ChatBody, await request.body())
        answer = await ask(self._engine, await self._entry(body.model), Render(template_prompt(body)))
        return json_response({"prompt": answer["text"]})

    # --- telling

    async def props(self, request: Request) -> Response:
        """Of the model that is named, or loaded. It is loaded for the question, unless `autoload=false`."""
        entry = await self._entry(request.query_params.get("model"))
        resident = self._ready(entry)
        if resident is None and request.query_params.get("autoload") == "false":
            return json_response(self._props(entry, int(entry.details.get("n_ctx_train") or 0), 1, {}, asleep=True))
        described = await ask(self._engine, entry, Describe())
        info = self._engine.resident(entry).info
        n_ctx, n_slots = (info.n_ctx, info.n_slots) if info is not None else (0, 1)
        return json_response(self._props(entry, n_ctx, n_slots, described, asleep=False))

    def _props(
        self, entry: Entry, n_ctx: int, n_slots: int, described: dict[str, str], *, asleep: bool
    ) -> dict[str, object]:
        return {
            "default_generation_settings": {"n_ctx": n_ctx, "params": settings_body(SamplingParams(), None, ())},
            "total_slots": n_slots,
            "model_alias": entry.name,
            # Its name, not its place: no route tells where a file lies.
            "model_path": f"{entry.name}.gguf",
            "chat_template": described.get("template", ""),
            "bos_token": described.get("bos", ""),
            "eos_token": described.get("eos", ""),
            "modalities": {"vision": False, "audio": False},
            "build_info": f"fireside {__version__}",
            "is_sleeping": asleep,
        }

    async def slots(self, request: Request) -> Response:
        """Of the model that is named, or of all that are loaded."""
        residents = [each for each in self._engine.supervisor.residents if each.info is not None]
        if name := request.query_params.get("model"):
            path = str((await self._entry(name)).path)
            residents = [each for each in residents if each.key.path == path]
        return json_response([slot for resident in residents for slot in _slots(resident)])

    async def metrics(self, _request: Request) -> Response:
        return PlainTextResponse(
            self._metrics(),
            media_type="text/plain; version=0.0.4",
            headers={"process-start-time-unix": str(int(self._started))},
        )

    def _metrics(self) -> str:
        totals = self._engine.totals
        residents = [each for each in self._engine.supervisor.residents if each.info is not None]
        active = sum(_active(each) for each in residents)
        waiting = sum(each.outstanding for each in self._engine.supervisor.residents) - active
        prompt_s, predicted_s = totals.prompt_ms / 1e3, totals.predicted_ms / 1e3
        rows: list[tuple[str, str, str, float]] = [
            ("prompt_tokens_total", "counter", "Prompt tokens computed.", totals.prompt_tokens),
            ("prompt_tokens_cached_total", "counter", "Prompt tokens that were known.", totals.cached_tokens),
            ("prompt_seconds_total", "counter", "Time spent on prompts.", prompt_s),
            ("tokens_predicted_total", "counter", "Tokens generated.", totals.predicted_tokens),
            ("tokens_predicted_seconds_total", "counter", "Time spent on generating.", predicted_s),
            ("requests_total", "counter", "Answers that were completed.", totals.requests),
            ("n_tokens_max", "gauge", "Tokens of the longest conversation.", totals.longest),
            ("prompt_tokens_seconds", "gauge", "Prompt tokens per second.", _rate(totals.prompt_tokens, prompt_s)),
            ("predicted_tokens_seconds", "gauge", "Tokens per second.", _rate(totals.predicted_tokens, predicted_s)),
            ("requests_processing", "gauge", "Requests that have a slot.", active),
            ("requests_deferred", "gauge", "Requests that wait.", max(0, waiting)),
        ]
        lines = []
        for name, kind, help_text, value in rows:
            full = f"llamacpp:{name}"
            lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}", f"{full} {value:g}"]
        return "\n".join(lines) + "\n"

    async def _entry(self, name: str | None) -> Entry:
        return (await self._engine.names.find(name or "")).entry

    def _ready(self, entry: Entry) -> Resident | None:
        residents = self._engine.supervisor.of_file(entry.path)
        return next((each for each in residents if each.state == "ready"), None)


def _active(resident: Resident) -> int:
    return min(resident.outstanding, resident.info.n_slots) if resident.info is not None else 0


def _slots(resident: Resident) -> list[dict[str, object]]:
    assert resident.info is not None  # noqa: S101 - those without were left out
    busy = _active(resident)
    return [
        {"id": number, "is_processing": number < busy, "n_ctx": resident.info.n_ctx, "model": resident.name}
        for number in range(resident.info.n_slots)
    ]


def _rate(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
