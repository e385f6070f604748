"""What an empty chat shows: where one is, and the few keys that matter."""

from __future__ import annotations

import time

from textual.content import Content
from textual.widgets import Static

from fireside.conversations.store import Summary
from fireside.table import ago
from fireside.tui.screen_text import on_one_line

KEYS = (
    ("enter", "send"),
    ("ctrl+j", "new line"),
    ("ctrl+o", "choose a model"),
    ("ctrl+l", "all chats"),
    ("ctrl+p", "all commands"),
    ("f1", "help"),
)


class Welcome(Static):
    """Hidden as soon as there is a message."""

    DEFAULT_CSS = """
    Welcome { height: 1fr; content-align: center middle; color: $faint; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._recent: list[Summary] = []

    def show_recent(self, recent: list[Summary]) -> None:
        """Offer to go on with these chats."""
        self._recent = recent
        self.on_resize()

    def on_resize(self) -> None:
        key_width = max(len(key) for key, _ in KEYS)
        lines = [
            Content.styled("fireside", "bold $primary"),
            Content("The model runs here. Nothing you write leaves this machine."),
        ]
        if self.size.height >= len(KEYS) + 6:
            rows = [Content.assemble((key.rjust(key_width), "$accent"), f"  {what:<14}") for key, what in KEYS]
            lines += [Content(""), *rows]
        if self._recent and self.size.height >= len(KEYS) + len(self._recent) + 8:
            now = time.time()
            lines += [Content(""), Content.styled("ctrl+l goes on with", "$faint")]
            for chat in self._recent:
                title = Content(on_one_line(chat.title)).truncate(max(10, self.size.width - 20), ellipsis=True)
                lines.append(Content.assemble(title, ("  " + ago(now - chat.updated), "$faint")))
        self.update(Content("\n").join(lines))
