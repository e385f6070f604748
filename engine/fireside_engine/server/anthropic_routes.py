"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fireside_engine.server.anthropic_answer import MessagesAnswer
from fireside_engine.server.anthropic_request import count_prompt, messages_call
from fireside_engine.server.asking import ask
from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.openai_chat import LARGE
from fireside_engine.server.responses import json_response
from fireside_engine.worker.questions import Count


class Anthropic:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def messages(self, request: Request) -> ASGIApp:
        body = await request.body()
        call = await asyncio.to_thread(messages_call, body) if len(body) > LARGE else messages_call(body)
        route = await self._engine.names.find(call.model)
        return Exchange(self._engine, call, route, MessagesAnswer(call, route.entry.name))

    async def count_tokens(self, request: Request) -> Response:
        body = await request.body()
        model, prompt = await asyncio.to_thread(count_prompt, body) if len(body) > LARGE else count_prompt(body)
        route = await self._engine.names.find(model)
        counted = await ask(self._engine, route.entry, Count(prompt))
        return json_response({"input_tokens": counted["n"]})
