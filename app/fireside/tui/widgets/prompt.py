"""Where the user writes: several lines, history on the arrow keys, enter to send.

Many terminals cannot tell shift+enter from enter, so a new line has four ways: ctrl+j, shift+enter, alt+enter, and a
backslash before enter.
"""

from __future__ import annotations

from typing import ClassVar

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key, Paste
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

from fireside.tui.history import PromptHistory
from fireside.tui.pastes import Pastes
from fireside.tui.screen_text import on_screen

# Textual drops the alt of `ESC CR`, which is what most terminals send for alt+enter (Textualize/textual#6378): the
# message would be sent instead of broken into lines.
if isinstance(ANSI_SEQUENCES_KEYS, dict):
    ANSI_SEQUENCES_KEYS.setdefault("\x1b\r", (Keys.ControlJ,))

NEWLINE_KEYS = ("ctrl+j", "shift+enter", "alt+enter")
LONG, SHORT = "Ask anything   enter sends · ctrl+j new line · / commands", "Ask anything"


class Prompt(TextArea):
    """The message being written."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 3;
        max-height: 12;
        padding: 0 1;
        border: round $border-blurred;
        background: $background;
        scrollbar-size-vertical: 1;
        & .text-area--placeholder { color: $faint; }
        & .text-area--cursor-line { background: transparent; }
        &:focus { border: round $border; background: $background; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send", show=False),
        Binding(",".join(NEWLINE_KEYS), "newline", "New line; also \\ before enter", id="prompt.newline"),
        Binding("up", "cursor_up", "Up; from the first line, an older message", id="prompt.older"),
        Binding("down", "cursor_down", "Down; from the last line, a newer one", id="prompt.newer"),
        Binding("pageup", "scroll_transcript(-1)", "Page up in the chat", id="prompt.page_up"),
        Binding("pagedown", "scroll_transcript(1)", "Page down in the chat", id="prompt.page_down"),
        Binding("alt+up", "to_messages", "To the messages: edit, branch, copy", id="prompt.messages"),
        Binding("tab", "tab", "Complete a command or file, unfold a paste, or go to the chat", id="prompt.tab"),
    ]

    class Sent(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class PageWanted(Message):
        """The transcript should move by pages."""

        def __init__(self, pages: int) -> None:
            super().__init__()
            self.pages = pages

    class MessagesWanted(Message):
        """The reader goes to the messages."""

    class TabPressed(Message):
        """What it means depends on what was typed."""

    def __init__(self) -> None:
        super().__init__(
            placeholder=Content(LONG), soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False
        )
        self.history_of_session = PromptHistory()
        self._pastes = Pastes()

    @property
    def whole_text(self) -> str:
        """What is written, with every folded paste in its place."""
        return self._pastes.expand(self.text)

    def on_resize(self) -> None:
        self.placeholder = Content(LONG if self.content_size.width >= len(LONG) else SHORT)

    async def _on_key(self, event: Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_send()
        elif event.key in NEWLINE_KEYS:
            # Here and not by its binding, which would run after keys that are waiting already.
            event.stop()
            event.prevent_default()
            self.action_newline()
        else:
            await super()._on_key(event)

    async def _on_paste(self, event: Paste) -> None:
        text = on_screen(event.text).replace("\r\n", "\n").replace("\r", "\n")
        await super()._on_paste(Paste(self._pastes.fold(text)))
        event.prevent_default()
        event.stop()

    def action_send(self) -> None:
        row, column = self.cursor_location
        if column and self.document[row][column - 1 : column] == "\\":
            self.replace("\n", (row, column - 1), (row, column))
            return
        text = self.whole_text.strip()
        if text:
            self.history_of_session.add(text)
            self.clear()
            self.post_message(self.Sent(text))

    def unfold(self) -> bool:
        """Show the paste whole at which the cursor stands. False where there is none."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        found = self._pastes.marker_at(line, column)
        if found is None:
            return False
        start, end = found
        self.replace(self._pastes.expand(line[start:end]), (row, start), (row, end))
        return True

    def action_newline(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        at_edge = self.navigator.is_first_wrapped_line(self.cursor_location)
        if at_edge and not select and (entry := self.history_of_session.older(self.text)) is not None:
            self.show_text(entry)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        at_edge = self.navigator.is_last_wrapped_line(self.cursor_location)
        if at_edge and not select and (entry := self.history_of_session.newer()) is not None:
            self.show_text(entry)
        else:
            super().action_cursor_down(select)

    def action_scroll_transcript(self, pages: int) -> None:
        self.post_message(self.PageWanted(pages))

    def action_to_messages(self) -> None:
        self.post_message(self.MessagesWanted())

    def action_tab(self) -> None:
        if not self.unfold():
            self.post_message(self.TabPressed())

    def show_text(self, text: str) -> None:
        """Replace what is there, and stand at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def give_back(self, text: str) -> None:
        """Show a message again that could not be answered, before whatever is being written."""
        self.show_text(text if not self.text.strip() else f"{text}\n\n{self.text}")
