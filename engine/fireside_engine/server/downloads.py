"""`GET /fireside/downloads`: models that could be fetched, what they would take here, and which to begin with.

Nothing is asked of the network. For screens that people choose from.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.core.outlook import Download, outlook, propose
from fireside_engine.models.known import Known, list_known
from fireside_engine.server.dry_runs import DryRuns
from fireside_engine.server.engine import Engine
from fireside_engine.server.fitting import machine_json
from fireside_engine.server.planning import FitPlanner
from fireside_engine.server.responses import json_response


class Downloads:
    """The endpoint."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self, _request: Request) -> Response:
        return json_response(await asyncio.to_thread(self._list))

    def _list(self) -> dict[str, Any]:
        planner = self._engine.supervisor.planner
        if not isinstance(planner, FitPlanner):
            raise errors.InternalError("This engine has no planner that looks at the machine.")
        with DryRuns() as runs:
            machine = planner.machine(runs)
        book = planner.book.learned.book
        known = [one for one in list_known(self._engine.names.catalogue) if one.source.startswith("hf:")]
        downloads = [download_of(one) for one in known]
        seen = [outlook(one, machine, book) if one.size else None for one in downloads]
        away = [
            (one, look)
            for one, look, told in zip(downloads, seen, known, strict=True)
            if look is not None and not told.installed
        ]
        return {
            "machine": machine_json(machine),
            "proposed": list(propose(away)),
            "models": [
                asdict(told) | {"outlook": asdict(look) if look is not None else None}
                for told, look in zip(known, seen, strict=True)
            ],
        }


def download_of(known: Known) -> Download:
    share = known.active_parameters / known.parameters if known.active_parameters and known.parameters else 1.0
    offered = known.confirmed and "chat" in known.roles and "code" not in known.roles
    return Download(known.name, known.size or 0, known.quant, share, offered)
