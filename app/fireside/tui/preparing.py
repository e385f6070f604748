"""Before the first message: reach the engine, find the model that was asked for, and have it loaded.

The prompt works meanwhile; a message that is sent finds the engine starting or the model loading, and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fireside.arguments import did_you_mean
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.models import ModelChoice, is_path
from fireside.tui.engine import Model
from fireside.tui.state import ChatState
from fireside_engine import address

POLL = 0.5
"""Seconds between two looks at a model that loads."""
NO_MODEL = "No model is installed."


def no_model_hint() -> str:
    return f"ctrl+o shows what can be fetched; or put a .gguf file into {address.models_dir()}, or use /model PATH."


def _absolute(path: str) -> Path:
    return Path(path).expanduser().resolve()


class Notify(Protocol):
    """Tells the user something in the transcript."""

    async def __call__(self, message: str, hint: str = "", *, is_error: bool = False) -> None: ...


async def prepare(
    state: ChatState, wanted: str, changed: Callable[[], None], notice: Notify, *, tells_none: bool = True
) -> None:
    """All of it: the engine, the model, and the words for what is not there."""
    try:
        models = await _choose_or_default(state, wanted, notice)
        state.has_model = bool(models)
        changed()
        if models:
            await load(state, changed)
        elif tells_none:
            await notice(NO_MODEL, no_model_hint())
    except Failure as failure:
        await state.refresh_status()
        await notice(failure.message, failure.hint, is_error=True)
    changed()


async def _choose_or_default(state: ChatState, wanted: str, notice: Notify) -> list[Model]:
    """A model that only the chat remembers may be gone; then the engine's default goes on with it."""
    try:
        return await choose(state, wanted)
    except Failure as failure:
        if failure.exit_code is not ExitCode.MODEL or not wanted or wanted != state.settings.model:
            raise
        await notice(failure.message, "The chat goes on with another one; ctrl+o chooses.")
        return await choose(state, "")


async def choose(state: ChatState, wanted: str) -> list[Model]:
    """Make `wanted` the model of the chat: a name, a path, or empty for the engine's default. Gives what there is.

    Raises Failure if there is no such model or file.
    """
    await state.engine.connect()
    state.is_connected, state.is_down = True, False
    if is_path(wanted):
        await asyncio.to_thread(ModelChoice, wanted)
        wanted = await state.engine.register(await asyncio.to_thread(_absolute, wanted))
    models = await state.engine.models()
    if wanted:
        names = {model.name.lower(): model.name for model in models}
        name = names.get(wanted.lower().removesuffix(":latest"))
        if name is None:
            raise Failure(
                f"There is no model “{wanted}”.",
                ExitCode.MODEL,
                hint=f"{did_you_mean(wanted, names.values())} ctrl+o shows what is installed.".strip(),
                code="model_not_found",
            )
        wanted = name
    state.settings = replace(state.settings, model=wanted)
    return models


async def load(state: ChatState, changed: Callable[[], None]) -> None:
    """Have the chat's model in memory before it is needed. Raises Failure."""
    state.is_loading = True
    changed()
    loading = asyncio.create_task(state.engine.load(state.settings.model, deterministic=state.settings.deterministic))
    try:
        while not loading.done():
            await state.refresh_status()
            changed()
            await asyncio.wait({loading}, timeout=POLL)
        # The default may be another model tomorrow; a conversation stays with the one that it began with.
        state.settings = replace(state.settings, model=await loading)
    finally:
        loading.cancel()
        state.is_loading = False
    await state.refresh_status()
    changed()
