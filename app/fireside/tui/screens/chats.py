"""All chats: the list, and the search through every message of every chat, with a preview."""

from __future__ import annotations

import time
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static

from fireside.conversations.search import Excerpt, excerpt, parse
from fireside.conversations.store import Hit, Summary
from fireside.conversations.tree import Conversation
from fireside.failure import Failure
from fireside.table import ago
from fireside.tui.archive import Archive
from fireside.tui.screen_text import on_one_line, on_screen
from fireside.tui.screens.panel import ListPanel

TYPING_PAUSE = 0.12
"""Seconds after the last key before a search begins."""
MOST = 200
"""Rows; a search finds what is beyond them."""
MOST_HITS = 60
PREVIEW_TURNS = 8
PREVIEW_LENGTH = 1200
"""Characters of a message."""
DELETE_WITHIN = 3.0
"""Seconds in which the second press removes a chat."""


class Place(NamedTuple):
    """A chat, and the turn where it is opened; empty is its end."""

    conversation: str
    turn: str = ""


class ChatList(ListPanel[Place | None]):
    """Gives the place that was chosen."""

    DEFAULT_CSS = """
    ChatList {
        & > .panel { width: 110; height: 30; }
        & OptionList { width: 1fr; height: 1fr; }
        & VerticalScroll {
            width: 1fr;
            height: 1fr;
            padding: 0 0 0 2;
            margin: 0 0 0 1;
            border-left: solid $rule;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
        &.-empty Horizontal { display: none; }
        &.-narrow VerticalScroll { display: none; }
        &.-normal VerticalScroll { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+x", "remove", "Remove the chat for good; twice", id="chats.remove", priority=True),
        Binding("ctrl+s", "pin", "Keep at the top, or no longer", id="chats.pin", priority=True),
    ]
    WIDTH = 110

    def __init__(self, archive: Archive, current: str, query: str = "") -> None:
        super().__init__()
        self._first_query = query
        self._archive = archive
        self._current = current
        self._rows: list[Summary | Hit] = []
        self._typing: Timer | None = None
        self._removing: tuple[str, float] = ("", 0.0)
        self.removed: list[str] = []
        """Ids of chats that the user removed here."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as box:
            box.border_title = "Chats"
            box.border_subtitle = "enter open · ctrl+s pin · ctrl+x remove · esc close"
            yield Input(self._first_query, placeholder="search all messages", select_on_focus=False)
            with Horizontal():
                yield OptionList(markup=False)
                with VerticalScroll(can_focus=False):
                    yield Static(markup=False)
            yield Static(classes="nothing", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._look()

    def on_resize(self) -> None:
        self._fill()

    @on(Input.Changed)
    def _query_changed(self) -> None:
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(TYPING_PAUSE, self._look)

    @property
    def _query(self) -> str:
        return self.query_one(Input).value.strip()

    @work(group="look", exclusive=True)
    async def _look(self) -> None:
        """Ask for the rows that belong to what was typed."""
        query = self._query
        nothing = self.query_one(".nothing", Static)
        try:
            if query:
                self._rows = list(await self._archive.call(lambda store: store.search(query, limit=MOST_HITS)))
                nothing.update("Nothing found.")
            else:
                self._rows = list(await self._archive.call(lambda store: store.summaries(MOST)))
                nothing.update("No chats yet. They are saved as they happen.")
        except Failure as failure:
            self._rows = []
            nothing.update(Content(f"{failure.message}\n{failure.hint}"))
        self._fill()

    def _fill(self) -> None:
        self.set_class(not self._rows, "-empty")
        # What was hidden has no width before it is laid out.
        self.call_after_refresh(self._put_rows)

    def _put_rows(self) -> None:
        width = max(16, self.query_one(OptionList).size.width - 2)
        now = time.time()
        self.fill([_row(row, width, now, self._current) for row in self._rows], None)

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._preview()

    @work(group="preview", exclusive=True)
    async def _preview(self) -> None:
        row = self._row
        pane = self.query_one(VerticalScroll)
        if row is None or not pane.display:
            return
        id_ = _id(row)
        try:
            conversation = await self._archive.call(lambda store: store.load(id_))
        except Failure as failure:
            pane.query_one(Static).update(Content(failure.message))
            return
        turn = row.turn if isinstance(row, Hit) else ""
        pane.query_one(Static).update(preview(conversation, turn, parse(self._query)))
        pane.scroll_home(animate=False)

    @property
    def _row(self) -> Summary | Hit | None:
        index = self.index
        return self._rows[index] if index is not None and index < len(self._rows) else None

    def choose(self, index: int) -> None:
        row = self._rows[index]
        self.dismiss(Place(_id(row), row.turn if isinstance(row, Hit) else ""))

    async def action_remove(self) -> None:
        if (row := self._row) is None:
            return
        id_ = _id(row)
        if self._removing[0] != id_ or time.monotonic() - self._removing[1] > DELETE_WITHIN:
            self._removing = (id_, time.monotonic())
            title = on_one_line(row.title)
            self.notify(f"Press ctrl+x again to remove “{title}” for good.", markup=False, timeout=DELETE_WITHIN)
            return
        try:
            await self._archive.call(lambda store: store.remove([id_]))
        except Failure as failure:
            self.notify(failure.message, markup=False, severity="error")
            return
        self.removed.append(id_)
        self._look()

    async def action_pin(self) -> None:
        row = self._row
        if not isinstance(row, Summary):
            return
        try:
            await self._archive.call(lambda store: store.pin(row.id, not row.pinned))
        except Failure as failure:
            self.notify(failure.message, markup=False, severity="error")
        self._look()


def _id(row: Summary | Hit) -> str:
    return row.id if isinstance(row, Summary) else row.conversation


def _row(row: Summary | Hit, width: int, now: float, current: str) -> Content:
    """A chat in a line; a hit in two."""
    is_current = _id(row) == current
    if isinstance(row, Summary):
        return _title(row.title, now - row.updated, width, is_current, "★ " if row.pinned else "")
    who = {"user": "  you: ", "assistant": "  ", "title": "  title: "}[row.role]
    where = Content.assemble((who, "$faint"), found(row.excerpt, width - len(who)))
    return Content("\n").join([_title(row.title, now - row.created, width, is_current), where])


def _title(title: str, age: float, width: int, is_current: bool, mark: str = "") -> Content:
    when = ago(age)
    room = max(8, width - len(when) - 2 - len(mark))
    shown = Content.styled(on_one_line(title) or "-", "bold $primary" if is_current else "")
    return Content.assemble((mark, "$accent"), shown.truncate(room, ellipsis=True, pad=True), "  ", (when, "$faint"))


def found(where: Excerpt, width: int) -> Content:
    """An excerpt with what was found, which is moved into the width if need be."""
    text = Content(where.text)
    for start, end in where.marks:
        text = text.stylize("bold $accent", start, end)
    first = where.marks[0][0] if where.marks else 0
    if first > width // 2:
        cut = min(first - width // 3, max(0, len(where.text) - width + 1))
        text = Content.assemble("…", text[cut:])
    plain = on_screen(text.plain)
    if plain != text.plain:
        # What may not be shown was taken out, so the marks no longer fit.
        text = Content(plain)
    return text.truncate(max(4, width), ellipsis=True)


def preview(conversation: Conversation, turn: str, terms: list[str]) -> Content:
    """The end of a chat, or what is around a turn."""
    leaf = conversation.newest_leaf(turn) if turn in conversation.turns else conversation.leaf
    path = conversation.path(leaf)
    at = next((at for at, shown in enumerate(path) if shown.id == turn), len(path) - 1 if turn else len(path))
    first = max(0, at - (1 if turn else PREVIEW_TURNS))
    parts: list[Content] = []
    for shown in path[first : first + PREVIEW_TURNS]:
        who = "You" if shown.role == "user" else shown.model or "Model"
        text = shown.text.strip()
        if shown.id == turn and terms:
            where = excerpt(text, terms, context=PREVIEW_LENGTH // 3, length=PREVIEW_LENGTH)
            body = found(where, PREVIEW_LENGTH + 2)
        else:
            body = Content(on_screen(text[:PREVIEW_LENGTH]) + ("…" if len(text) > PREVIEW_LENGTH else ""))
        parts.append(
            Content.assemble((on_one_line(who), "bold $primary" if shown.role == "user" else "bold"), "\n", body)
        )
    return Content("\n\n").join(parts)
