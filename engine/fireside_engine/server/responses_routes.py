"""`/v1/responses`: the API of Codex and of newer SDKs."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fireside_engine import errors
from fireside_engine.core.request import Message
from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.openai_chat import LARGE
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.responses import json_response
from fireside_engine.server.responses_answer import ResponsesAnswer
from fireside_engine.server.responses_request import responses_call
from fireside_engine.server.responses_schema import ResponsesBody
from fireside_engine.server.responses_store import Kept, ResponsesStore
from fireside_engine.server.tenants import tenant_in


class Responses:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = ResponsesStore()

    async def respond(self, request: Request) -> ASGIApp:
        data = await request.body()
        tenant = tenant_in(request.scope)
        body = await asyncio.to_thread(parse, ResponsesBody, data) if len(data) > LARGE else parse(ResponsesBody, data)
        before: tuple[Message, ...] = ()
        if body.previous_response_id:
            before = self._store.find(tenant, body.previous_response_id).messages
        call = responses_call(body, before)
        route = await self._engine.names.find(call.model)

        def keep(identity: str, kept: Kept) -> None:
            self._store.keep(tenant, identity, kept)

        return Exchange(self._engine, call, route, ResponsesAnswer(call, route.entry.name, keep))

    async def one(self, request: Request) -> Response:
        """A response that is kept, or its end."""
        tenant, identity = tenant_in(request.scope), request.path_params["id"]
        if request.method == "DELETE":
            if not self._store.forget(tenant, identity):
                raise _unknown()
            return json_response({"id": identity, "object": "response", "deleted": True})
        try:
            return json_response(self._store.find(tenant, identity).body)
        except errors.InvalidRequest:
            raise _unknown() from None


def _unknown() -> errors.FiresideError:
    return errors.NotFound("No such response is kept.", hint="They are kept in memory, the latest ones.")
