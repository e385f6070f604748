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
LOAD_STEP = 10


class Earlier(Static):
    """Stands for messages above that are not mounted."""

    DEFAULT_CSS = """
    Earlier { height: 1; margin: 0 0 1 0; color: $faint; text-align: center; display: none; }
    Earlier.-some { display: block; }
    """

    class Wanted(Message):
        """The reader wants to see them."""

    def __init__(self) -> None:
        super().__init__(markup=False)

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Wanted())


@dataclass(slots=True, eq=False)
class Entry:
    """One message, mounted or not."""

    make: Callable[[], Widget]
    """Makes the message as it looks when it is complete."""
    widget: Widget | None


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
        Binding("y", "copy('answer')", "Copy the last answer", id="transcript.copy"),
        Binding("c", "copy('code')", "Copy a code block; again for the next", id="transcript.copy_code"),
        Binding("w", "write_file", "Write what was copied last to a file", id="transcript.write"),
        Binding("r", "screen.retry", "Answer again, with a new seed", id="transcript.retry"),
        Binding("j,down", "scroll_down", "Scroll down", id="transcript.down"),
        Binding("k,up", "scroll_up", "Scroll up", id="transcript.up"),
        Binding("g,home", "to_start", "To the start; again for earlier messages", id="transcript.start"),
        Binding("G,end", "to_end", "To the end, and follow it", id="transcript.end"),
        Binding("i,escape,enter", "to_prompt", "Back to the prompt", id="transcript.prompt"),
    ]

    at_end: reactive[bool] = reactive(True)
    """Whether the reader is where new text comes."""

    class CopyWanted(Message):
        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what
            """answer, code, or file: what was copied last, into a file."""

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
        self._welcome, self._earlier = Welcome(), Earlier()

    def compose(self) -> ComposeResult:
        yield self._welcome
        yield self._earlier

    def on_mount(self) -> None:
        self.anchor()

    @property
    def mounted(self) -> list[Widget]:
        """The messages on the screen, oldest first."""
        return [entry.widget for entry in self._entries[self._first :] if entry.widget is not None]

    async def add(self, widget: Widget, make: Callable[[], Widget]) -> Entry:
        """Append a message; `make` makes it again when it is wanted back after it was taken off the screen."""
        last = self._entries[-1] if self._entries else None
        if last is not None and isinstance(widget, Notice) and widget.repeats(last.widget):
            # The same trouble again is told once, in its newest words.
            await self.drop(last)
        entry = Entry(make, widget)
        self._entries.append(entry)
        self._welcome.display = False
        await self.mount(widget)
        if self.at_end:
            await self._prune()
        return entry

    async def drop(self, entry: Entry) -> None:
        """Take a message away for good."""
        if entry in self._entries:
            self._first -= self._entries.index(entry) < self._first
            self._entries.remove(entry)
            self._welcome.display = not self._entries
        if entry.widget is not None:
            await entry.widget.remove()

    async def clear(self) -> None:
        """Take every message away for good."""
        self._entries, self._first = [], 0
        with self.app.batch_update():
            await self.remove_children([child for child in self.children if not isinstance(child, Earlier | Welcome)])
            self._welcome.display = True
            self._update_earlier()
        self.anchor()

    def follow_end(self) -> None:
        """Go to the end, and stay there while text comes."""
        self.anchor()
        self.at_end = True

    async def show_earlier(self) -> None:
        """Mount some older messages; what the reader looks at stays where it is."""
        start = max(0, self._first - LOAD_STEP)
        wanted = self._entries[start : self._first]
        if not wanted:
            return
        below = self.max_scroll_y - self.scroll_y
        self._first = start
        self._update_earlier()
        for entry in wanted:
            entry.widget = entry.make()
        await self.mount_all([entry.widget for entry in wanted if entry.widget], after=self._earlier)
        self.call_after_refresh(lambda: self.scroll_to(y=self.max_scroll_y - below, animate=False))

    async def _prune(self) -> None:
        surplus = len(self._entries) - self._first - MOST_MOUNTED
        if surplus <= 0:
            return
        gone = self._entries[self._first : self._first + surplus]
        self._first += surplus
        self._update_earlier()
        for entry in gone:
            if entry.widget is not None:
                widget, entry.widget = entry.widget, None
                await widget.remove()

    def _update_earlier(self) -> None:
        self._earlier.set_class(self._first > 0, "-some")
        self._earlier.update(Content(f"↑ {plural(self._first, 'earlier message')} · home twice or click"))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.at_end = new_value >= self.max_scroll_y

    def release_anchor(self) -> None:
        """The reader moves, or tries to: at the end there is no way further down, and the end is still followed."""
        super().release_anchor()
        self.call_after_refresh(self._look_where_we_are)

    def _look_where_we_are(self) -> None:
        if self.scroll_y >= self.max_scroll_y:
            self.follow_end()
        else:
            self.at_end = False

    def watch_at_end(self, at_end: bool) -> None:
        for message in self.mounted[-1:]:
            if isinstance(message, AnswerMessage):
                message.follow(at_end)

    def on_key(self, event: Key) -> None:
        if event.is_printable and event.character and event.key not in self.screen.active_bindings:
            event.stop()
            event.prevent_default()
            self.post_message(self.Typed(event.character))

    def action_copy(self, what: str) -> None:
        self.post_message(self.CopyWanted(what))

    def action_write_file(self) -> None:
        self.post_message(self.CopyWanted("file"))

    async def action_to_start(self) -> None:
        if self.scroll_y <= 0:
            await self.show_earlier()
        else:
            self.scroll_home(animate=False)

    def action_to_end(self) -> None:
        self.follow_end()

    def action_to_prompt(self) -> None:
        self.post_message(self.Typed(""))

    async def on_earlier_wanted(self, event: Earlier.Wanted) -> None:
        event.stop()
        await self.show_earlier()
