"""What a chat does about models: has one ready, lets the user choose, fetches one while the chat goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from fireside import pulling
from fireside.conversations import desk
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.tui import fetching, preparing
from fireside.tui.fetching import Fetching
from fireside.tui.screens.first_run import FirstRun
from fireside.tui.screens.models import ModelChosen, ModelPicker
from fireside.wire import JsonObject
from fireside_engine import address

if TYPE_CHECKING:
    from fireside.tui.screens.chat import ChatScreen

KEPT = "What came of it is kept; fetching it again goes on from there."


class ModelWork:
    """Of one chat screen."""

    def __init__(self, screen: ChatScreen, start: fetching.Start = fetching.start_pull) -> None:
        self._screen = screen
        self.fetching = Fetching(screen.show_state, start)

    async def prepare(self, wanted: str, *, tells_none: bool = True) -> None:
        """Have a model in memory: the wanted one, or the engine's default."""
        screen = self._screen
        await preparing.prepare(screen.state, wanted, screen.show_state, screen.notice, tells_none=tells_none)
        try:
            await screen.chats.tell_engine()
        except Failure as failure:
            screen.state.archive.failure = failure

    async def is_first_run(self) -> bool:
        """Whether nothing was ever asked or chosen here, and there is no model of the user's own. Raises Failure."""
        archive = self._screen.state.archive
        if not archive.is_on or await asyncio.to_thread(_has_own_models, address.models_dir()):
            return False
        if await archive.call(lambda store: desk.remembered(store, desk.WELCOMED)):
            return False
        return not await archive.call(lambda store: store.summaries(limit=1))

    async def welcome(self) -> None:
        """The first-run screen, and what was chosen there. Raises Failure."""
        screen = self._screen
        chosen = await screen.app.push_screen_wait(FirstRun(screen.state.engine))
        if chosen is None:
            screen.toast("ctrl+o shows the models again")
        await screen.state.archive.call(_welcomed)
        if chosen is not None:
            await self._take(chosen)

    async def choose(self) -> None:
        """The list of all models, and what was chosen there."""
        screen = self._screen
        picker = ModelPicker(screen.state.engine, screen.state.model, self.fetching, self.peek)
        chosen = await screen.app.push_screen_wait(picker)
        if chosen is not None:
            await self._take(chosen)

    async def peek(self, target: str) -> JsonObject:
        """What the hub says of a model. Raises Failure."""
        return await asyncio.to_thread(pulling.peek, target, lambda _words: None)

    async def fetch(self, target: str, quant: str = "") -> None:
        """Fetch a model and use it; without a quantization, the one that runs best here."""
        screen = self._screen
        if self.fetching.view is not None:
            screen.toast(f"{self.fetching.view.target} is being fetched; /pull stop ends that.")
            return
        try:
            name = await self.fetching.fetch(target, quant, self._best if not quant else None)
        except Failure as failure:
            await screen.notice(failure.message, failure.hint, is_error=True)
            screen.give_up_waiting()
            return
        if not name:
            screen.toast(f"Stopped. {KEPT}")
            screen.give_up_waiting()
            return
        screen.toast(f"{name} is here; the next message goes to it")
        await self.prepare(name)
        screen.go_on()

    async def _best(self, target: str) -> str:
        """The quantization that runs best on this machine, from a header alone. Raises Failure when none fits."""
        if target.startswith(("/", "~", ".")) or ":" in target.removeprefix("hf:"):
            return ""
        peeked = await self.peek(target)
        found = await self._screen.state.engine.fit(peeked)
        rows = [row for model in found.get("models") or () for row in model.get("rows") or ()]
        picked = next((row for row in rows if row.get("picked")), None)
        if picked is None:
            hint = f"ctrl+o shows why; `/pull {target}:QUANT` fetches one all the same."
            raise Failure(f"No quantization of {target} fits this machine.", ExitCode.MODEL, hint=hint)
        return next((str(file["quant"]) for file in peeked["files"] if file["stem"] == picked["name"]), "")

    async def _take(self, chosen: ModelChosen) -> None:
        if not chosen.name:
            await self.choose()
        elif chosen.fetch:
            self._screen.fetch(chosen.name, chosen.quant)
        else:
            self._screen.use_model(chosen.name)


def _has_own_models(folder: Path) -> bool:
    return any(folder.rglob("*.gguf"))


def _welcomed(store: Store) -> None:
    desk.remember(store, desk.WELCOMED, "yes")
