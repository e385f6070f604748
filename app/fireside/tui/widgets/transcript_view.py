"""The scrolling transcript: follows its end as long as the reader is there, and holds few widgets however long it is.

Only the newest messages are mounted; a line at the top brings back older ones. While the reader is elsewhere, an answer
that is being written is not rendered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click, Key
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from fireside.tui.widgets.message import AnswerMessage, Notice
from fireside.tui.widgets.welcome import Welcome
from fireside.wording import plural

MOST_MOUNTED = 30
"""Messages that stay mounted; each has several widgets, and each costs at every change of the layout."""
FIRST_MOUNTED = 16
"""Messages that are mounted when a conversation is opened; several screens full."""
LOAD_STEP = 10


class Elsewhere(Static):
    """Stands for messages above or below that are not mounted."""

    DEFAULT_CSS = """
    Elsewhere { height: 1; margin: 0 0 1 0; color: $faint; text-align: center; display: none; }
    Elsewhere.-some { display: block; }
    """

    class Wanted(Message):
        """The reader wants to see them."""

        def __init__(self, is_above: bool) -> None:
            super().__init__()
            self.is_above = is_above

    def __init__(self, is_above: bool) -> None:
        super().__init__(markup=False)
        self._is_above = is_above

    def show(self, n: int) -> None:
        self.set_class(n > 0, "-some")
        arrow, key = ("↑", "home twice") if self._is_above else ("↓", "end")
        word = "earlier" if self._is_above else "later"
        self.update(Content(f"{arrow} {plural(n, f'{word} message')} · {key} or click"))

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Wanted(self._is_above))


@dataclass(slots=True, eq=False)
class Entry:
    """One message, mounted or not."""

    key: str
    """Of the turn it shows; empty for what is no part of the conversation."""
    make: Callable[[], Widget]
    """Makes the message as it looks when it is complete."""
    widget: Widget | None = None


class TranscriptView(VerticalScroll):
    """Messages, oldest first."""

    # A blank background is painted past the filter that takes the colours out.
    BLANK = "NO_COLOR" not in os.environ
    DEFAULT_CSS = """
    TranscriptView {
        height: 1fr;
        padding: 1 1 0 1;
        align-vertical: bottom;
        scrollbar-size-vertical: 1;
        background: $background;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+up", "move(-1)", "To the message before", id="transcript.older"),
        Binding("alt+down", "move(1)", "To the message after", id="transcript.newer"),
        Binding("e", "want('edit')", "Edit the question; the old one stays as a branch", id="transcript.edit"),
        Binding("r", "want('retry')", "Answer again, with a new seed", id="transcript.retry"),
        Binding("left,left_square_bracket", "want('before')", "The branch before ‹1/3›", id="transcript.branch_before"),
        Binding("right,right_square_bracket", "want('after')", "The branch after", id="transcript.branch_after"),
        Binding("t", "want('tree')", "All branches as a tree", id="transcript.tree"),
        Binding("f", "want('fork')", "A new chat that begins like this one up to here", id="transcript.fork"),
        Binding("y", "want('copy')", "Copy the message", id="transcript.copy"),
        Binding("c", "want('code')", "Copy a code block; again for the next", id="transcript.copy_code"),
        Binding("w", "want('write')", "Write what was copied last to a file", id="transcript.write"),
        Binding("x", "want('export')", "Write the chat to a file", id="transcript.export"),
        Binding("d", "want('delete')", "Delete the message and what follows; twice", id="transcript.delete"),
        Binding("j,down", "scroll_down", "Scroll down", id="transcript.down"),
        Binding("k,up", "scroll_up", "Scroll up", id="transcript.up"),
        Binding("ctrl+d", "page_down", "Page down", id="transcript.page_down"),
        Binding("ctrl+u", "page_up", "Page up", id="transcript.page_up"),
        Binding("g,home", "to_start", "To the start; again for earlier messages", id="transcript.start"),
        Binding("G,end", "to_end", "To the end, and follow it", id="transcript.end"),
        Binding("i,escape,enter,tab", "to_prompt", "Back to the prompt", id="transcript.prompt"),
    ]

    at_end: reactive[bool] = reactive(True)
    """Whether the reader is where new text comes."""

    class Wanted(Message):
        """Something is to be done with a message."""

        def __init__(self, what: str, key: str) -> None:
            super().__init__()
            self.what = what
            self.key = key
            """Of its turn; empty where the message is none."""

    class Typed(Message):
        """A key that means nothing here was typed; it was meant for the prompt."""

        def __init__(self, character: str) -> None:
            super().__init__()
            self.character = character

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Entry] = []
        self._first = 0
        """Index of the oldest entry that is mounted."""
        self._end = 0
        """Index behind the newest entry that is mounted."""
        self._at: Entry | None = None
        """The message that keys are about, while the transcript has the focus."""
        self.welcome, self._earlier, self._later = Welcome(), Elsewhere(True), Elsewhere(False)

    def compose(self) -> ComposeResult:
        yield self.welcome
        yield self._earlier
        yield self._later

    def on_mount(self) -> None:
        self.anchor()

    @property
    def mounted(self) -> list[Widget]:
        """The messages on the screen, oldest first."""
        return [entry.widget for entry in self._entries[self._first : self._end] if entry.widget is not None]

    @property
    def last_answer(self) -> Entry | None:
        """The newest one that is mounted."""
        return next((entry for entry in reversed(self._entries) if isinstance(entry.widget, AnswerMessage)), None)

    def find(self, key: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.key == key), None)

    async def add(self, entry: Entry) -> Entry:
        """Append a message."""
        if self._end < len(self._entries):
            await self._mount_window(len(self._entries) - FIRST_MOUNTED, len(self._entries))
        last = self._entries[-1] if self._entries else None
        widget = entry.widget = entry.widget or entry.make()
        if last is not None and isinstance(widget, Notice) and widget.repeats(last.widget):
            # The same trouble again is told once, in its newest words.
            await self.drop(last)
        self._entries.append(entry)
        self._end = len(self._entries)
        self.welcome.display = False
        await self.mount(widget, before=self._later)
        if self.at_end:
            await self._prune()
        return entry

    async def show(self, entries: list[Entry]) -> None:
        """Show these messages instead; those at the start that are there already stay as they are."""
        same = 0
        for old, new in zip(self._entries, entries, strict=False):
            if not old.key or old.key != new.key:
                break
            same += 1
        gone = self._entries[same:]
        self._entries = self._entries[:same] + entries[same:]
        self._end = min(self._end, same)
        with self.app.batch_update():
            await self.remove_children([entry.widget for entry in gone if entry.widget is not None])
            self.welcome.display = not self._entries
            first = max(0, len(entries) - FIRST_MOUNTED)
            await self._mount_window(min(first, self._first) if self._first < same else first, len(entries))
        self.follow_end()

    async def cut_after(self, key: str) -> None:
        """Take away what comes after a message."""
        at = next((at for at, entry in enumerate(self._entries) if entry.key == key), len(self._entries))
        for entry in self._entries[at + 1 :]:
            await self.drop(entry)

    async def drop_key(self, key: str) -> None:
        if (entry := self.find(key)) is not None:
            await self.drop(entry)

    async def drop(self, entry: Entry) -> None:
        """Take a message away for good."""
        if entry in self._entries:
            at = self._entries.index(entry)
            self._first -= at < self._first
            self._end -= at < self._end
            self._entries.remove(entry)
            self.welcome.display = not self._entries
        if entry.widget is not None:
            await entry.widget.remove()

    async def clear(self, *, keeps_focus: bool = False) -> None:
        """Take every message away for good."""
        gone = [entry.widget for entry in self._entries if entry.widget is not None]
        self._entries, self._first, self._end, self._at = [], 0, 0, None
        with self.app.batch_update():
            await self.remove_children(gone)
            self.welcome.display = True
            self._count_the_rest()
        self.anchor()
        if self.has_focus and not keeps_focus:
            self.action_to_prompt()

    def follow_end(self) -> None:
        """Go to the end, and stay there while text comes."""
        if self._end < len(self._entries):
            self.call_later(self._mount_window, len(self._entries) - FIRST_MOUNTED, len(self._entries))
        self.anchor()
        self.at_end = True

    async def show_earlier(self) -> None:
        """Mount some older messages; what the reader looks at stays where it is."""
        if self._first == 0:
            return
        below = self.max_scroll_y - self.scroll_y
        await self._mount_window(self._first - LOAD_STEP, self._end)
        self.call_after_refresh(lambda: self.scroll_to(y=self.max_scroll_y - below, animate=False))

    async def show_later(self) -> None:
        """Mount some newer messages."""
        await self._mount_window(self._first, self._end + LOAD_STEP)

    async def _mount_window(self, first: int, end: int) -> None:
        """Have exactly these messages mounted; those that are stay as they are where the two ranges meet."""
        first, end = max(0, first), min(end, len(self._entries))
        with self.app.batch_update():
            keep = self._entries[max(first, self._first) : min(end, self._end)]
            gone = [entry for entry in self._entries if entry.widget is not None and entry not in keep]
            await self.remove_children([entry.widget for entry in gone if entry.widget is not None])
            for entry in gone:
                entry.widget = None
            before = self._entries[first : max(first, self._first)] if keep else []
            after = self._entries[min(end, self._end) : end] if keep else self._entries[first:end]
            for entry in (*before, *after):
                entry.widget = entry.make()
            await self.mount_all([entry.widget for entry in before if entry.widget], after=self._earlier)
            await self.mount_all([entry.widget for entry in after if entry.widget], before=self._later)
            self._first, self._end = first, end
            self._count_the_rest()
        if end < len(self._entries):
            super().release_anchor()
            self.at_end = False

    async def _prune(self) -> None:
        surplus = len(self._entries) - self._first - MOST_MOUNTED
        if surplus <= 0:
            return
        gone = self._entries[self._first : self._first + surplus]
        self._first += surplus
        self._count_the_rest()
        for entry in gone:
            if entry.widget is not None:
                widget, entry.widget = entry.widget, None
                await widget.remove()

    def _count_the_rest(self) -> None:
        self._earlier.show(self._first)
        self._later.show(len(self._entries) - self._end)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.at_end = self._is_at_end

    def release_anchor(self) -> None:
        """The reader moves, or tries to: at the end there is no way further down, and the end is still followed."""
        super().release_anchor()
        self.call_after_refresh(self._look_where_we_are)

    def _look_where_we_are(self) -> None:
        if self._is_at_end:
            self.follow_end()
        else:
            self.at_end = False

    @property
    def _is_at_end(self) -> bool:
        return self.scroll_y >= self.max_scroll_y and self._end == len(self._entries)

    def watch_at_end(self, at_end: bool) -> None:
        for message in self.mounted[-1:]:
            if isinstance(message, AnswerMessage):
                message.follow(at_end)

    def on_key(self, event: Key) -> None:
        if event.is_printable and event.character and event.key not in self.screen.active_bindings:
            event.stop()
            event.prevent_default()
            self.post_message(self.Typed(event.character))

    def on_click(self, event: Click) -> None:
        widget = event.widget
        while widget is not None and widget.parent is not self:
            widget = widget.parent if isinstance(widget.parent, Widget) else None
        if entry := next((entry for entry in self._entries if entry.widget is widget and entry.key), None):
            self._stand_at(entry)

    def on_focus(self) -> None:
        if self._at not in self._entries:
            self._at = next((entry for entry in reversed(self._entries) if entry.key), None)
        self._stand_at(self._at)

    def on_blur(self) -> None:
        self._mark(False)
        self._at = None

    async def stand_at(self, key: str) -> None:
        """Go to a message, and let keys be about it."""
        if (entry := self.find(key)) is None:
            return
        at = self._entries.index(entry)
        if not self._first <= at < self._end:
            await self._mount_window(at - LOAD_STEP // 2, at - LOAD_STEP // 2 + FIRST_MOUNTED)
        self._at = entry
        self.focus()
        self.call_after_refresh(self._stand_at, entry)

    async def action_move(self, step: int) -> None:
        keyed = [entry for entry in self._entries if entry.key]
        if not keyed:
            return
        at = keyed.index(self._at) + step if self._at in keyed else len(keyed) - 1
        entry = keyed[max(0, min(at, len(keyed) - 1))]
        where = self._entries.index(entry)
        if where < self._first:
            await self.show_earlier()
        elif where >= self._end:
            await self.show_later()
        self._stand_at(entry)

    def _stand_at(self, entry: Entry | None) -> None:
        self._mark(False)
        self._at = entry
        self._mark(True)
        if entry is not None and entry.widget is not None and entry is not self._entries[-1]:
            self.scroll_to_widget(entry.widget, animate=False, top=entry.widget.size.height > self.size.height)

    def _mark(self, is_there: bool) -> None:
        if self._at is not None and self._at.widget is not None:
            self._at.widget.set_class(is_there and self.has_focus, "-at")

    def action_want(self, what: str) -> None:
        self.post_message(self.Wanted(what, self._at.key if self._at is not None else ""))

    def action_page_down(self) -> None:
        self.scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        self.scroll_page_up(animate=False)

    async def action_to_start(self) -> None:
        if self.scroll_y <= 0:
            await self.show_earlier()
        else:
            self.scroll_home(animate=False)

    def action_to_end(self) -> None:
        self.follow_end()

    def action_to_prompt(self) -> None:
        self.post_message(self.Typed(""))

    async def on_elsewhere_wanted(self, event: Elsewhere.Wanted) -> None:
        event.stop()
        await (self.show_earlier() if event.is_above else self.show_later())
