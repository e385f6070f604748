"""Questions to a loaded model, from any endpoint: the model is loaded for them, and kept as for an answer."""

from __future__ import annotations

from typing import Any

from fireside_engine.models.catalogue import Entry
from fireside_engine.server.engine import Engine
from fireside_engine.worker.questions import Embed, Question


async def ask(
    engine: Engine, entry: Entry, question: Question, keep_alive: float | None = None, client: str = ""
) -> dict[str, Any]:
    """Raises what loading raises, and what the worker says."""
    resident = engine.embedder(entry) if isinstance(question, Embed) else engine.resident(entry)
    resident.enter(1, client)
    try:
        worker = await resident.worker()
        return await worker.ask(question)
    finally:
        resident.leave(1, keep_alive, client)
