"""Which models can fill in the middle, for the words with which others are refused."""

from __future__ import annotations

from fireside_engine import errors
from fireside_engine.server.engine import Engine


async def explained(engine: Engine, error: errors.NotSupported, name: str) -> errors.NotSupported:
    """The same refusal, with what to do instead."""
    entries = await engine.names.entries()
    able = [entry.name for entry in entries if "fim" in (entry.details.get("roles") or ())]
    if able:
        hint = f"These can, and are here: {', '.join(able)}."
    else:
        hint = "Models that can: qwen2.5-coder in any size, e.g. qwen2.5-coder-1.5b; StarCoder2, CodeGemma, Codestral."
    message = f"{name} does not support insert: it has no tokens for filling in the middle."
    return errors.NotSupported(message, hint=hint, **error.details)
