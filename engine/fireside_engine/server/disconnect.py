"""Work that is only done while somebody waits for it.

ASGI tells of a client's departure only to those who listen on `receive`; so one task works while another listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The connection ended before the answer did."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; it is cancelled, and ClientGone raised, when the client goes.

    The body must be read already.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        watching.cancel()
        # Both have ended when this returns, so that a slot is never freed after its request is forgotten.
        await asyncio.gather(working, watching, return_exceptions=True)


async def attended(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """As `while_connected`, for an answer in one piece. The body must be read already."""
    try:
        return await while_connected(request.receive, work)
    except ClientGone:
        # Nobody reads it.
        return Response(status_code=499)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
