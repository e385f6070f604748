"""`POST /v1/chat/completions`: OpenAI's dialect, whole and streamed."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp

from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.meter import Meter
from fireside_engine.server.openai_answer import Answer
from fireside_engine.server.openai_request import chat_call

LARGE = 256 * 1024
"""A body above this is parsed in a thread: other streams must not wait for it."""


class ChatCompletions:
    """The endpoint is `respond`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def respond(self, request: Request) -> ASGIApp:
        body = await request.body()
        call = await asyncio.to_thread(chat_call, body) if len(body) > LARGE else chat_call(body)
        route = await self._engine.names.find(call.model)
        meter = Meter()
        return Exchange(self._engine, call, route, Answer(call, route.entry.name, route.reason, meter), meter)
