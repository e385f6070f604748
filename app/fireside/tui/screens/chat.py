"""The chat: transcript, prompt and status, and what keys and commands do with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import TextArea

from fireside.app_settings import AppSettings
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation, Turn
from fireside.failure import Failure
from fireside.tui import commands, editor, fetching, slash
from fireside.tui.answering import Answering
from fireside.tui.archive import Archive
from fireside.tui.attachments import AttachmentError
from fireside.tui.chats import Chats
from fireside.tui.copying import Copier
from fireside.tui.drafts import draft_of
from fireside.tui.engine import Engine
from fireside.tui.hints import hints
from fireside.tui.message_keys import SECOND_PRESS, MessageKeys
from fireside.tui.model_work import ModelWork
from fireside.tui.screens.chats import ChatList
from fireside.tui.screens.help import HelpScreen
from fireside.tui.screens.tree import TreeScreen
from fireside.tui.start import Start
from fireside.tui.state import STATUS_PAUSE, ChatState
from fireside.tui.unsent import Unsent
from fireside.tui.widgets.bars import HeaderBar, StatusBar
from fireside.tui.widgets.command_hints import CommandHints
from fireside.tui.widgets.message import Notice
from fireside.tui.widgets.prompt import Prompt
from fireside.tui.widgets.strips import FetchStrip, JumpStrip, QueueStrip
from fireside.tui.widgets.thought import Thought
from fireside.tui.widgets.transcript_view import Entry, TranscriptView

TICK = 0.5
"""Seconds between two looks at what the status line shows."""
RECENT = 3
"""Chats that an empty one offers."""


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
        Binding("ctrl+l", "chats", "All chats, and search", id="chat.chats", priority=True),
        Binding("ctrl+f", "chats", "Search all chats", id="chat.search", priority=True, show=False),
        Binding("ctrl+g", "editor", "Write the message in $EDITOR", id="chat.editor", priority=True),
        Binding("ctrl+n", "new_chat", "New chat", id="chat.new", priority=True),
        Binding("ctrl+o", "choose_model", "Choose a model", id="chat.model", priority=True),
        Binding("ctrl+t", "toggle_thinking", "Fold or unfold thinking", id="chat.thinking", priority=True),
        Binding("ctrl+end", "follow_end", "To the end of the chat", id="chat.end", priority=True),
        Binding("ctrl+c", "interrupt", "Copy the selection, or stop; twice quits", id="chat.interrupt", priority=True),
        Binding("f1", "help", "Help", id="chat.help"),
    ]

    def __init__(
        self,
        engine: Engine,
        archive: Archive,
        start: Start,
        settings: AppSettings,
        pull: fetching.Start = fetching.start_pull,
    ) -> None:
        super().__init__()
        self.state = ChatState(engine, archive, settings, conversation=Conversation(system=start.system or ""))
        self._start = start
        self._header, self._bar = HeaderBar(), StatusBar()
        self._jump, self._queue, self._command_hints = JumpStrip(), QueueStrip(), CommandHints()
        self._fetch_strip = FetchStrip()
        self._transcript, self._prompt = TranscriptView(), Prompt()
        self._answering = Answering(self.state, self._transcript, self._prompt, self.show_state)
        self._unsent = Unsent(self.state, self._prompt)
        self.chats = Chats(self.state, self._transcript, self._answering, self._unsent)
        self.models = ModelWork(self, pull)
        self._message_keys = MessageKeys(self)
        self._copier = Copier(self._write_to_terminal)
        self._interrupted_at = self._stopped_at = float("-inf")
        self._told_failure: Failure | None = None

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._transcript
        yield self._jump
        yield self._fetch_strip
        yield self._queue
        yield self._command_hints
        yield self._prompt
        yield self._bar

    def on_mount(self) -> None:
        self.watch(self._transcript, "at_end", self.show_state, init=False)
        self.watch(self._transcript, "has_focus", self.show_state, init=False)
        self.set_interval(TICK, self.show_state)
        self._prompt.focus()
        self.show_state()
        self._begin()

    @work(group="begin")
    async def _begin(self) -> None:
        start, archive = self._start, self.state.archive
        try:
            if start.resume:
                await self.chats.open(start.resume)
                if start.system is not None:
                    self.state.conversation.system = start.system
            else:
                await self._unsent.restore()
            self.state.settings = replace(self.state.settings, draft=start.draft or self.state.settings.draft)
            recent = await archive.call(partial(Store.summaries, limit=RECENT))
            self._transcript.welcome.show_recent(recent)
            self._prompt.history_of_session.entries[:0] = await archive.call(Store.recent_questions)
        except Failure as failure:
            await self.notice(failure.message, failure.hint, is_error=True)
        await self._begin_with_model(start)

    async def _begin_with_model(self, start: Start) -> None:
        wanted = start.model or self.state.settings.model
        try:
            welcomes = start.welcomes and not wanted and await self.models.is_first_run()
            self._prepare(wanted, tells_none=not welcomes)
            self.show_state()
            if welcomes:
                await self.models.welcome()
        except Failure as failure:
            await self.notice(failure.message, failure.hint, is_error=True)

    def on_unmount(self) -> None:
        self._unsent.keep_before_leaving()
        self.models.fetching.cancel()

    # --- what is shown

    def show_state(self) -> None:
        """Bring header, status and strips up to date; what did not change is not painted."""
        state, view = self.state, self.state.view()
        state.fetching = self.models.fetching.view
        self._fetch_strip.show(state.fetching)
        self._header.chat_title = state.conversation.title
        self._header.is_saved = state.archive.is_on and state.archive.failure is None
        if (failure := state.archive.failure) is not None and failure is not self._told_failure:
            self._told_failure = failure
            self.call_later(self.notice, f"Not saved. {failure.message}", failure.hint, is_error=True)
        self._header.model = state.model
        self._bar.view = view
        self._bar.hints = hints(
            is_busy=self._answering.is_busy,
            is_command=self._command_hints.has_some,
            is_reading=self._transcript.has_focus,
            is_editing=state.editing is not None,
        )
        self._queue.show(state.queue, is_editing=state.editing is not None)
        self._jump.show(away=not self._transcript.at_end, is_writing=self._answering.is_busy)
        if state.wants_status(view):
            self._refresh_status()

    async def notice(self, message: str, hint: str = "", *, is_error: bool = False) -> None:
        """A block in the transcript that is no part of the conversation."""

        def make() -> Notice:
            return Notice(message, hint, is_error=is_error)

        await self._transcript.add(Entry("", make))

    def toast(self, words: str) -> None:
        """A word that goes by itself."""
        self.notify(words, markup=False, timeout=4)

    # --- the engine

    @work(group="prepare", exclusive=True)
    async def _prepare(self, wanted: str, *, tells_none: bool = True) -> None:
        await self.models.prepare(wanted, tells_none=tells_none)

    @work(group="status", exclusive=True)
    async def _refresh_status(self) -> None:
        await self.state.refresh_status()
        self.show_state()
        running = self.state.running
        if running is not None and running.keep_alive_s is None and not self._answering.is_busy:
            # The time to unload is known only when the engine has put the last request away.
            await asyncio.sleep(STATUS_PAUSE)
            await self.state.refresh_status()
            self.show_state()

    # --- asking

    @on(Prompt.Sent)
    async def _sent(self, event: Prompt.Sent) -> None:
        await self._unsent.sent()
        try:
            if (invocation := commands.parse(event.text)) is not None:
                await slash.execute(self, invocation)
                self.show_state()
                return
        except commands.BadCommandError as bad:
            self.toast(str(bad))
            self._prompt.give_back(event.text)
            return
        except (Failure, OSError) as failure:
            self.toast(str(failure))
            return
        try:
            draft = await asyncio.to_thread(draft_of, event.text, self.state.editing)
        except AttachmentError as bad:
            self.toast(str(bad))
            self._prompt.give_back(event.text)
            return
        self.state.editing = None
        self._in_background(lambda: self._answering.ask(draft))

    def edit(self, turn: Turn | None) -> None:
        """Put a question into the prompt, to be sent as another version; None leaves it."""
        self.state.editing = turn
        if turn is not None:
            self._prompt.show_text(turn.text)
            self._prompt.focus()
        self.show_state()

    def _in_background(self, call: Callable[[], Awaitable[object]]) -> None:
        """Let an answer come while keys are handled; then look at what it left in the engine."""

        async def run() -> None:
            await call()
            self._refresh_status()

        self.run_worker(run(), group="answer")

    @on(TextArea.Changed)
    def _prompt_changed(self) -> None:
        self._unsent.changed()
        shown = self._command_hints
        before = shown.has_some
        shown.look_at(self._prompt.text, self.size.height // 3)
        if before != shown.has_some:
            self.show_state()

    @on(Prompt.TabPressed)
    def _tab_pressed(self) -> None:
        if completion := self._command_hints.completion:
            self._prompt.show_text(completion)
        else:
            self._transcript.focus()

    def action_editor(self) -> None:
        """Go on writing the message in the user's own editor."""
        try:
            with self.app.suspend():
                text = editor.edit(self._prompt.whole_text)
        except (OSError, SuspendNotSupported) as failure:
            self.toast(f"No editor: {failure}.")
            return
        self._prompt.show_text(text)

    @on(Prompt.MessagesWanted)
    def _messages_wanted(self) -> None:
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
        """Stop the answer; else leave what was begun; twice, edit the last question."""
        if self._answering.stop():
            return
        self.clear_selection()
        if self.state.editing is not None:
            self.edit(None)
            self._prompt.clear()
        elif self.state.app_settings.vim and self._prompt.has_focus:
            self._transcript.focus()
        elif not self._prompt.text and time.monotonic() - self._stopped_at < SECOND_PRESS:
            self.want("edit", "")
        self._stopped_at = time.monotonic()

    def action_retry(self, beside: Turn | None = None) -> None:
        """Answer the last question again, or that of a message."""
        if self._answering.is_busy:
            self.toast("An answer is being written; esc stops it.")
            return
        self._in_background(lambda: self._retry(beside))

    async def _retry(self, beside: Turn | None = None) -> None:
        if not await self._answering.retry(beside):
            self.toast("There is nothing to answer again.")

    async def action_new_chat(self) -> None:
        await self.chats.begin()
        self.edit(None)
        self._prompt.focus()

    @work(group="chats", exclusive=True)
    async def action_chats(self, query: str = "") -> None:
        screen = ChatList(self.state.archive, self.state.conversation.id, query)
        place = await self.app.push_screen_wait(screen)
        try:
            if screen.removed:
                await self.chats.left_by_removal(screen.removed)
            if place is not None:
                await self.chats.open(*place)
                self.edit(None)
        except Failure as failure:
            self.toast(failure.message)
        self.show_state()

    @work(group="tree", exclusive=True)
    async def action_tree(self) -> None:
        conversation = self.state.conversation
        if not conversation.turns:
            self.toast("There are no branches yet.")
        elif (turn := await self.app.push_screen_wait(TreeScreen(conversation, conversation.leaf or ""))) is not None:
            await self.between_answers(lambda: self.chats.go_to(turn))

    async def between_answers(self, call: Callable[[], Awaitable[object]]) -> None:
        """Change what is shown, which is not done under the feet of an answer."""
        if self._answering.is_busy:
            self.toast("An answer is being written; esc stops it.")
            return
        try:
            if isinstance(words := await call(), str) and words:
                self.toast(words)
        except (Failure, OSError) as failure:
            self.toast(str(failure))
        self.show_state()

    @on(TranscriptView.Wanted)
    def _wanted(self, event: TranscriptView.Wanted) -> None:
        self.want(event.what, event.key)

    @work(group="want")
    async def want(self, what: str, key: str) -> None:
        await self._message_keys.do(what, key)

    def action_toggle_thinking(self) -> None:
        thoughts = list(self._transcript.query(Thought))
        if thoughts:
            thoughts[-1].toggle()
        else:
            self.toast("No answer here has thinking.")

    # --- copying

    async def copy(self, what: str, text: str | None = None) -> None:
        """Copy a message, the last `answer`, or its `code`; or write what was copied last to a `file`."""
        if what == "file":
            self.toast(self._copier.file())
            return
        call = self._copier.code if what == "code" else self._copier.answer
        self.toast(await call(text or self._answering.shown_text))

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
        await self.models.choose()

    def use_model(self, name: str) -> None:
        self._prepare(name)

    @work(group="fetch")
    async def fetch(self, target: str, quant: str) -> None:
        """Fetch a model, and use it when it is here; the chat goes on meanwhile."""
        await self.models.fetch(target, quant)

    def stop_fetching(self) -> None:
        if not self.models.fetching.cancel():
            self.toast("Nothing is being fetched.")

    def go_on(self) -> None:
        """Send what waited for a model."""
        self._in_background(self._answering.go_on)

    def give_up_waiting(self) -> None:
        """No model comes; what waited for it goes back to the prompt."""
        if not self.state.has_model:
            self._answering.give_back_queue()
        self.show_state()

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
