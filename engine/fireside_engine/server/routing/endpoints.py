"""`/fireside/routing…`: the roster, its proof, the trace, shadows. For the owner; the gate sees to that."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.core.routing.proof import Proof, thresholds_for
from fireside_engine.core.routing.roster import MODES, Thresholds
from fireside_engine.core.routing.stats import summed
from fireside_engine.server.engine import Engine
from fireside_engine.server.responses import json_response
from fireside_engine.server.tenants import require_manager


class Routing:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def show(self, _request: Request) -> Response:
        """Raises ModelNotFound where nothing can answer as `auto`."""
        found = await self._engine.names.auto()
        proof = await asyncio.to_thread(self._engine.router.proofs.of, found.roster)
        modes = {mode: thresholds_for(mode, proof) for mode in MODES}
        return json_response(
            {
                "roster": [
                    {"name": tier.name, "identity": tier.identity, "remote": tier.remote, "n_ctx": tier.n_ctx}
                    for tier in found.roster.tiers
                ],
                "mode": found.settings.mode,
                "modes": list(MODES),
                "thresholds": {mode: {**_shown(value), "grounds": grounds} for mode, (value, grounds) in modes.items()},
                "drafts": found.drafts,
                "proof": _summary(proof),
                "shadow": {"share": found.settings.shadow, "waiting": self._engine.shadows.n_waiting},
            }
        )

    async def put_proof(self, request: Request) -> Response:
        """Raises InvalidRequest, Forbidden."""
        require_manager(request.scope, "change what is proved")
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise errors.InvalidRequest("The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise errors.InvalidRequest("The body must be a JSON object.")
        found = await self._engine.names.auto()
        proof = await asyncio.to_thread(self._engine.router.proofs.put, body, found.roster)
        return json_response({"proof": _summary(proof)})

    async def forget_proof(self, request: Request) -> Response:
        """Raises Forbidden."""
        require_manager(request.scope, "forget what is proved")
        found = await self._engine.names.auto()
        there = await asyncio.to_thread(self._engine.router.proofs.forget, found.roster)
        return json_response({"forgotten": there})

    async def why(self, request: Request) -> Response:
        """One answer, by `id`, its beginning or end; the latest without. Raises NotFound."""
        wanted = request.query_params.get("id", "")[:256]
        row = await self._engine.router.trace.find(wanted)
        if row is None:
            hint = "Only the latest answers are remembered; `fireside why` without an ID tells of the last one."
            raise errors.NotFound(
                "No answer of that name is known." if wanted else "Nothing was answered yet.", hint=hint
            )
        return json_response({"id": row.id, "made": row.made, **row.body})

    async def stats(self, request: Request) -> Response:
        """Sums of all answers, or of those after `since`, seconds of the epoch."""
        try:
            since = float(request.query_params.get("since", "0") or 0)
        except ValueError:
            since = math.nan
        if not math.isfinite(since):
            raise errors.InvalidRequest("since: must be seconds of the epoch.", param="since")
        rows = await self._engine.router.trace.rows(since)
        sums = await asyncio.to_thread(summed, [row.body for row in rows])
        return json_response({"since": rows[0].made if rows else None, **sums.to_dict()})

    async def forget_trace(self, request: Request) -> Response:
        """Raises Forbidden."""
        require_manager(request.scope, "forget what answers cost")
        return json_response({"forgotten": await self._engine.router.trace.forget()})

    async def shadows(self, request: Request) -> Response:
        """Raises Forbidden."""
        require_manager(request.scope, "read prompts")
        return json_response({"shadows": await self._engine.router.trace.shadows()})


def _shown(thresholds: Thresholds) -> dict[str, Any]:
    shown: dict[str, Any] = {"threshold": thresholds.threshold, "tolerance": thresholds.tolerance}
    return {**shown, "kinds": dict(thresholds.kinds)} if thresholds.kinds else shown


def _summary(proof: Proof | None) -> dict[str, Any] | None:
    return None if proof is None else {"id": proof.id, "made": proof.made, "n": proof.n, **dict(proof.body)}
