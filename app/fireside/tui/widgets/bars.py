"""The lines at the top and the bottom of a chat: one widget each, drawn from a frozen view of the state."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from fireside.tui.screen_text import on_one_line
from fireside.tui.status_line import StatusView, status_line

NAME = "fireside"
OFFLINE = "● offline"
"""Said because it is so: this program and its engine talk to each other on this machine and to nobody else."""

WIDE = 60
"""Cells from which there is room for words that explain themselves."""


class HeaderBar(Widget):
    """Name, title of the chat, model, and that nothing leaves the machine."""

    DEFAULT_CSS = """
    HeaderBar { height: 1; padding: 0 1; background: $surface; }
    """

    chat_title: reactive[str] = reactive("")
    model: reactive[str] = reactive("")
    is_saved: reactive[bool] = reactive(True)
    """Whether what happens here is kept."""

    def render(self) -> Content:
        width = self.content_size.width
        is_wide = width >= WIDE
        title = on_one_line(self.chat_title)
        model = Content(on_one_line(self.model)).truncate(width // 2, ellipsis=True)
        unsaved = "" if self.is_saved else "not saved" if is_wide else "!"
        right = Content.assemble(
            (unsaved, "$warning"),
            "  " if unsaved else "",
            model.stylize("$foreground 80%"),
            "  " if model else "",
            (OFFLINE if is_wide else OFFLINE[0], "$success"),
        )
        name = Content.styled(NAME, "bold $primary") if is_wide or not title else Content("")
        left = Content.assemble(name, "  " if name else "", (title, "$faint"))
        room = max(0, width - right.cell_length - 2)
        if left.cell_length > room:
            left = left.truncate(room, ellipsis=True)
        return Content.assemble(left, " " * max(0, width - left.cell_length - right.cell_length), right)


class StatusBar(Widget):
    """The bottom line."""

    DEFAULT_CSS = """
    StatusBar { height: 1; padding: 0 1; background: $surface; }
    """

    view: reactive[StatusView] = reactive(StatusView)
    hints: reactive[list[tuple[str, str]]] = reactive(list)

    def render(self) -> Content:
        return status_line(self.view, self.hints, self.content_size.width)
