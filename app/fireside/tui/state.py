"""What a chat knows: its conversation and settings, and what the engine last said about itself. No widget."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from fireside.account import Account
from fireside.app_settings import AppSettings
from fireside.conversations.tree import Conversation, Turn
from fireside.failure import Failure
from fireside.progress import Prefill
from fireside.tui.archive import Archive
from fireside.tui.chat_settings import ChatSettings
from fireside.tui.drafts import Draft
from fireside.tui.engine import Engine, Running, Status
from fireside.tui.fetching import FetchView
from fireside.tui.generation import Generation
from fireside.tui.reply import Loading
from fireside.tui.status_line import Phase, StatusView

_QUANT = re.compile(r"\b(?:I?Q\d\w*|T?B?F(?:16|32)|MXFP4\w*)(?: - [A-Z]\w+)?")
STATUS_PAUSE = 2.0
"""Seconds between two questions to the engine about itself."""


@dataclass(slots=True)
class ChatState:
    """Of one chat screen."""

    engine: Engine
    archive: Archive = field(default_factory=Archive)
    app_settings: AppSettings = field(default_factory=AppSettings)
    settings: ChatSettings = field(default_factory=ChatSettings)
    conversation: Conversation = field(default_factory=Conversation)
    status: Status = field(default_factory=Status)
    status_at: float = 0.0
    """When the engine said so, by the monotonic clock."""
    is_connected: bool = False
    is_down: bool = False
    """The last attempt to reach the engine failed."""
    is_loading: bool = False
    """A model is being loaded before anybody asked it anything."""
    has_model: bool = True
    """Whether there is any model to ask, as far as is known."""
    fetching: FetchView | None = None
    """The model that is being fetched."""
    generation: Generation | None = None
    queue: list[Draft] = field(default_factory=list)
    """Messages that wait for the present answer."""
    last: Account | None = None
    """Of the answer that the status line tells about."""
    editing: Turn | None = None
    """The question that the prompt holds another version of."""
    read_rates: dict[str, float] = field(default_factory=dict)
    """Prompt tokens per second, by the model that read them last."""

    def enter(self, conversation: Conversation) -> None:
        """Another conversation is shown."""
        self.conversation = conversation
        self.editing = None
        self.look_at_last()

    def look_at_last(self) -> None:
        """The last answer on the path is what the status line tells about."""
        answer = self.conversation.last_answer()
        self.last = answer.account if answer is not None else None

    def note(self, account: Account) -> None:
        """An answer is complete."""
        self.last = account
        if account.read_rate:
            self.read_rates[account.model] = account.read_rate

    def read_rate(self, model: str) -> float | None:
        return self.read_rates.get(model)

    async def refresh_status(self) -> None:
        """Ask the engine what it is doing. An engine that does not answer is shown as such."""
        try:
            self.status = await self.engine.status()
        except Failure:
            self.status = Status()
            self.is_connected, self.is_down = False, True
        else:
            self.is_connected, self.is_down = True, False
        self.status_at = time.monotonic()

    def wants_status(self, view: StatusView) -> bool:
        """Whether what the engine last said is out of date. It is not asked for nothing: that would keep it awake."""
        running = self.running
        if self.is_down or time.monotonic() - self.status_at < STATUS_PAUSE:
            return False
        if view.phase is Phase.WRITING:
            return running is None or not running.n_ctx
        return view.unload_in is not None and view.unload_in <= 0

    @property
    def running(self) -> Running | None:
        """The model of this chat, if it is in memory or on its way there."""
        return self.status.find(self.settings.model or self._answered_by)

    @property
    def model(self) -> str:
        """The model that answers next, as far as it is known."""
        if self.settings.model:
            return self.settings.model
        running = self.running
        return running.name if running else self._answered_by

    @property
    def _answered_by(self) -> str:
        return self.last.model if self.last else ""

    @property
    def waits_for_model(self) -> bool:
        """Whether messages wait because the first model is still on its way here."""
        return self.fetching is not None and not self.has_model

    def view(self) -> StatusView:
        """What the status line shows now."""
        running, generation = self.running, self.generation
        left = None
        if running is not None and running.keep_alive_s is not None and generation is None:
            left = running.keep_alive_s - (time.monotonic() - self.status_at)
        rate = generation.rate if generation is not None else self.last.rate if self.last else None
        return StatusView(
            phase=self._phase(running),
            model=self.model,
            quant=quant_in(running.description) if running else "",
            used=self._used(),
            known=self._known(),
            n_ctx=running.n_ctx if running else 0,
            rate=rate,
            cached=self.last.cached if self.last else None,
            memory=running.rss if running else 0,
            memory_total=self.status.memory_total,
            unload_in=_coarse(left),
            deterministic=self.settings.deterministic,
            queued=len(self.queue),
        )

    def _phase(self, running: Running | None) -> Phase:
        if (generation := self.generation) is not None:
            if not generation.is_connected:
                return Phase.STARTING
            if generation.reply.text or generation.reply.reasoning:
                return Phase.WRITING
            return Phase.LOADING if isinstance(generation.reply.stage, Loading) else Phase.READING
        if self.is_down:
            return Phase.DOWN
        if not self.is_connected:
            return Phase.STARTING
        if self.is_loading or (running is not None and running.state == "loading"):
            return Phase.LOADING
        return Phase.READY if running is not None and running.state == "ready" else Phase.IDLE

    def _known(self) -> int:
        if self.generation is not None:
            return self.generation.reply.cached
        return (self.last.cached or 0) if self.last else 0

    def _used(self) -> int:
        if self.generation is not None:
            stage = self.generation.reply.stage
            live = stage.processed if isinstance(stage, Prefill) else self.generation.reply.context
            return live or (self.last.context or 0 if self.last else 0)
        return (self.last.context or 0) if self.last else 0


def quant_in(description: str) -> str:
    """The quantization at the end of llama.cpp's line about a model, e.g. `qwen2 1.5B Q4_K - Medium`."""
    found = _QUANT.search(description)
    return found[0] if found else ""


def _coarse(seconds: float | None) -> float | None:
    """Whole minutes where there are several, so that the line does not tick."""
    if seconds is None or seconds < 120:
        return seconds
    return seconds // 60 * 60
