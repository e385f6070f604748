"""Single lines between transcript and prompt, there only when they have something to say."""

from __future__ import annotations

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from fireside.tui.drafts import Draft
from fireside.tui.fetching import FetchView
from fireside.tui.screen_text import on_one_line


class JumpStrip(Static):
    """The reader is not at the end."""

    DEFAULT_CSS = """
    JumpStrip { height: 1; text-align: center; color: $faint; display: none; }
    """

    class Clicked(Message):
        """The reader wants to go there."""

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, *, away: bool, is_writing: bool) -> None:
        self.display = away
        if away:
            self.update(
                Content.assemble("↓ ", "the answer goes on below" if is_writing else "more below", " · ctrl+end")
            )

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Clicked())


class QueueStrip(Static):
    """What becomes of the message in the prompt, and messages that are sent when the present answer is complete."""

    DEFAULT_CSS = """
    QueueStrip { height: auto; max-height: 4; padding: 0 2; color: $faint; display: none; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, queue: list[Draft], *, is_editing: bool = False) -> None:
        self.display = bool(queue) or is_editing
        if not self.display:
            return
        width = max(10, self.app.size.width - 14)
        lines = [Content(on_one_line(draft.text)).truncate(width, ellipsis=True) for draft in queue]
        shown = [Content.assemble(("queued ", "$accent"), line) for line in lines]
        if is_editing:
            shown.append(Content.assemble(("editing ", "$accent"), "· esc leaves it"))
        self.update(Content("\n").join(shown))


class FetchStrip(Static):
    """How far the model is that is being fetched."""

    DEFAULT_CSS = """
    FetchStrip { height: 1; padding: 0 2; color: $faint; display: none; }
    """
    REST = " · /pull stop ends it"

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, view: FetchView | None) -> None:
        self.display = view is not None
        if view is not None:
            width = self.app.size.width - 6
            rest = self.REST if width >= 70 else ""
            self.update(Content.assemble(view.line(max(10, width - len(rest))), (rest, "$faint")))
