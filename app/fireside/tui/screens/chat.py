"""The chat: transcript, prompt and status, and what keys and commands do with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import TextArea

from fireside.failure import Failure
from fireside.tui import commands, preparing
from fireside.tui.answering import Answering
from fireside.tui.copying import Copier
from fireside.tui.engine import Engine
from fireside.tui.screens.help import HelpScreen
from fireside.tui.screens.models import ModelPicker
from fireside.tui.state import STATUS_PAUSE, ChatState
from fireside.tui.transcript import Conversation
from fireside.tui.widgets.bars import HeaderBar, StatusBar
from fireside.tui.widgets.command_hints import CommandHints
from fireside.tui.widgets.message import Notice
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.strips import JumpStrip, QueueStrip
from fireside.tui.widgets.thought import Thought
from fireside.tui.widgets.transcript_view import TranscriptView

TICK = 0.5
"""Seconds between two looks at what the status line shows."""
SECOND_PRESS = 2.0
"""Seconds in which a second ctrl+c quits."""


class ChatScreen(Screen[None]):
    """One conversation at a time."""

    DEFAULT_CSS = """
    ChatScreen {
        background: $background;
        &.-short Prompt { max-height: 4; min-height: 1; border: none; border-left: outer $border; }
        &.-short Prompt:focus { border: none; border-left: outer $primary; }
        &.-short TranscriptView { padding: 0 1; }
        &.-narrow TranscriptView { padding-left: 0; padding-right: 0; }
        &.-narrow AnswerMessage { padding: 0 0 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop the answer; what came stays", id="chat.stop"),
        Binding("ctrl+r", "retry", "Answer again, with a new seed", id="chat.retry", priority=True),
        Binding("ctrl+n", "new_chat", "New chat", id="chat.new", priority=True),
        Binding("ctrl+o", "choose_model", "Choose a model", id="chat.model", priority=True),
        Binding("ctrl+t", "toggle_thinking", "Fold or unfold thinking", id="chat.thinking", priority=True),
        Binding("ctrl+end", "follow_end", "To the end of the chat", id="chat.end", priority=True),
        Binding("ctrl+c", "interrupt", "Copy the selection, or stop; twice quits", id="chat.interrupt", priority=True),
        Binding("f1", "help", "Help", id="chat.help"),
    ]

    def __init__(self, engine: Engine, model: str = "", system: str = "") -> None:
        super().__init__()
        self.state = ChatState(engine, conversation=Conversation(system=system))
        self._wanted_model = model
        self._header, self._bar = HeaderBar(), StatusBar()
        self._jump, self._queue, self._command_hints = JumpStrip(), QueueStrip(), CommandHints()
        self._transcript, self._prompt = TranscriptView(), Prompt()
        self._answering = Answering(self.state, self._transcript, self._prompt, self._show_state)
        self._copier = Copier(self._write_to_terminal)
        self._interrupted_at = float("-inf")

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._transcript
        yield self._jump
        yield self._queue
        yield self._command_hints
        yield self._prompt
        yield self._bar

    def on_mount(self) -> None:
        self.watch(self._transcript, "at_end", self._show_state, init=False)
        self.watch(self._transcript, "has_focus", self._show_state, init=False)
        self.set_interval(TICK, self._show_state)
        self._prompt.focus()
        self._show_state()
        self._prepare(self._wanted_model)

    # --- what is shown

    def _show_state(self) -> None:
        """Bring header, status and strips up to date; what did not change is not painted."""
        state, view = self.state, self.state.view()
        self._header.chat_title = state.conversation.title
        self._header.model = state.model
        self._bar.view = view
        self._bar.hints = self._hints()
        self._queue.show(state.queue)
        self._jump.show(away=not self._transcript.at_end, is_writing=self._answering.is_busy)
        if state.wants_status(view):
            self._refresh_status()

    def _hints(self) -> list[tuple[str, str]]:
        if self._answering.is_busy:
            return [("esc", "stop")]
        if self._command_hints.found:
            return [("tab", "complete")]
        if self._transcript.has_focus:
            return [("y", "copy"), ("c", "code"), ("esc", "prompt")]
        return [("f1", "help"), ("^p", "commands")]

    async def notice(self, message: str, hint: str = "", *, is_error: bool = False) -> None:
        """A block in the transcript that is no part of the conversation."""

        def make() -> Notice:
            return Notice(message, hint, is_error=is_error)

        await self._transcript.add(make(), make)

    def toast(self, words: str) -> None:
        """A word that goes by itself."""
        self.notify(words, markup=False, timeout=4)

    # --- the engine

    @work(group="prepare", exclusive=True)
    async def _prepare(self, wanted: str) -> None:
        try:
            models = await preparing.choose(self.state, wanted)
            self._show_state()
            if models:
                await preparing.load(self.state, self._show_state)
            else:
                await self.notice(preparing.NO_MODEL, preparing.no_model_hint())
        except Failure as failure:
            await self.state.refresh_status()
            await self.notice(failure.message, failure.hint, is_error=True)
        self._show_state()

    @work(group="status", exclusive=True)
    async def _refresh_status(self) -> None:
        await self.state.refresh_status()
        self._show_state()
        running = self.state.running
        if running is not None and running.keep_alive_s is None and not self._answering.is_busy:
            # The time to unload is known only when the engine has put the last request away.
            await asyncio.sleep(STATUS_PAUSE)
            await self.state.refresh_status()
            self._show_state()

    # --- asking

    @on(Prompt.Sent)
    async def _sent(self, event: Prompt.Sent) -> None:
        try:
            invocation = commands.parse(event.text)
            if invocation is not None:
                await self._execute(invocation)
                return
        except commands.BadCommandError as bad:
            self.toast(str(bad))
            self._prompt.give_back(event.text)
            return
        self._in_background(lambda: self._answering.ask(event.text))

    def _in_background(self, call: Callable[[], Awaitable[object]]) -> None:
        """Let an answer come while keys are handled; then look at what it left in the engine."""

        async def run() -> None:
            await call()
            self._refresh_status()

        self.run_worker(run(), group="answer")

    @on(TextArea.Changed)
    def _prompt_changed(self) -> None:
        hints = self._command_hints
        before = bool(hints.found)
        hints.look_at(self._prompt.text, self.size.height // 3)
        if before != bool(hints.found):
            self._show_state()

    @on(Prompt.TabPressed)
    def _tab_pressed(self) -> None:
        if completion := self._command_hints.completion:
            self._prompt.show_text(completion)
        else:
            self._transcript.focus()

    @on(Prompt.PageWanted)
    def _page_wanted(self, event: Prompt.PageWanted) -> None:
        move = self._transcript.scroll_page_down if event.pages > 0 else self._transcript.scroll_page_up
        move(animate=False)

    @on(TranscriptView.Typed)
    def _typed(self, event: TranscriptView.Typed) -> None:
        self._prompt.focus()
        if event.character:
            self._prompt.insert(event.character)

    @on(JumpStrip.Clicked)
    def action_follow_end(self) -> None:
        self._transcript.follow_end()

    def action_stop(self) -> None:
        if not self._answering.stop():
            self.clear_selection()

    def action_retry(self) -> None:
        if self._answering.is_busy:
            self.toast("An answer is being written; esc stops it.")
            return
        self._in_background(self._retry)

    async def _retry(self) -> None:
        if not await self._answering.retry():
            self.toast("There is nothing to answer again.")

    async def action_new_chat(self) -> None:
        self._answering.stop()
        self.state.conversation = Conversation(system=self.state.conversation.system)
        self.state.last = None
        self._answering.forget()
        await self._transcript.clear()
        self._prompt.focus()
        self._show_state()

    def action_toggle_thinking(self) -> None:
        thoughts = list(self._transcript.query(Thought))
        if thoughts:
            thoughts[-1].toggle()
        else:
            self.toast("No answer here has thinking.")

    # --- copying

    @on(TranscriptView.CopyWanted)
    async def _copy_wanted(self, event: TranscriptView.CopyWanted) -> None:
        await self.copy(event.what)

    async def copy(self, what: str) -> None:
        """Copy the `answer` or its `code`, or write what was copied last to a `file`."""
        if what == "file":
            self.toast(self._copier.file())
            return
        call = self._copier.code if what == "code" else self._copier.answer
        self.toast(await call(self._answering.shown_text))

    def _write_to_terminal(self, sequence: str) -> None:
        driver = self.app._driver
        if driver is not None:
            driver.write(sequence)

    async def action_interrupt(self) -> None:
        if selected := self._prompt.selected_text or self.get_selected_text():
            self.toast(await self._copier.selection(selected))
        elif self._answering.stop():
            return
        elif time.monotonic() - self._interrupted_at < SECOND_PRESS:
            self.app.exit(0)
        else:
            self._interrupted_at = time.monotonic()
            self.toast("Press ctrl+c again to quit.")

    # --- models and commands

    @work(group="picker", exclusive=True)
    async def action_choose_model(self) -> None:
        try:
            await self.state.engine.connect()
            models = await self.state.engine.models()
        except Failure as failure:
            await self.notice(failure.message, failure.hint, is_error=True)
            return
        name = await self.app.push_screen_wait(ModelPicker(models, self.state.model))
        if name:
            await self._use_model(name)

    async def _use_model(self, name: str) -> None:
        self._prepare(name)

    def action_help(self) -> None:
        self.app.push_screen(
            HelpScreen(
                [
                    ("While writing", Prompt.BINDINGS),
                    ("Anywhere", [*ChatScreen.BINDINGS, *self.app.BINDINGS]),
                    ("In the chat (tab)", TranscriptView.BINDINGS),
                ]
            )
        )

    async def _execute(self, invocation: commands.Invocation) -> None:
        argument, state = invocation.argument, self.state
        match invocation.command.name:
            case "new":
                await self.action_new_chat()
            case "model" if argument:
                await self._use_model(argument)
            case "model":
                self.action_choose_model()
            case "system":
                state.conversation.system = argument
                await self.notice("System prompt set." if argument else "System prompt cleared.", argument)
            case "copy":
                await self.copy("code" if argument else "answer")
            case "retry":
                self.action_retry()
            case "temp":
                value = commands.number(argument, 0, 10, "The temperature")
                state.settings = replace(state.settings, temperature=value)
                self.toast("Temperature: the engine's own" if value is None else f"Temperature {value:g}")
            case "seed":
                seed = commands.whole_number(argument, "The seed")
                state.settings = replace(state.settings, seed=seed)
                self.toast("A new seed for each answer" if seed is None else f"Seed {seed}")
            case "deterministic":
                self._set_deterministic(argument)
            case "help":
                self.action_help()
            case "quit":
                self.app.exit(0)
        self._show_state()

    def _set_deterministic(self, argument: str) -> None:
        if argument not in ("on", "off"):
            raise commands.BadCommandError("Say /deterministic on or /deterministic off.")
        self.state.settings = replace(self.state.settings, deterministic=argument == "on")
        self.toast(f"Deterministic {argument}, from the next message")
