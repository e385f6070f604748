"""All branches of a chat, as a tree that is indented only where it branches."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList

from fireside.conversations.tree import Conversation, Turn
from fireside.tui.screen_text import on_one_line
from fireside.tui.screens.panel import ListPanel


class Line(NamedTuple):
    """A turn in the tree."""

    turn: Turn
    rail: str
    """The lines before it."""
    is_shown: bool


class TreeScreen(ListPanel[str | None]):
    """Gives the id of the turn that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,t", "close", "Close", show=False, id="tree.close"),
        Binding("j", "move(1)", "Down", show=False, id="tree.down"),
        Binding("k", "move(-1)", "Up", show=False, id="tree.up"),
    ]

    def __init__(self, conversation: Conversation, current: str) -> None:
        super().__init__()
        self._lines = lines_of(conversation)
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel") as box:
            box.border_title = "Branches"
            box.border_subtitle = "enter show · esc close"
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        at = next((at for at, line in enumerate(self._lines) if line.turn.id == self._current), None)
        self._show(at if at is not None else len(self._lines) - 1)

    def on_resize(self) -> None:
        self._show(self.index)

    def _show(self, highlighted: int | None) -> None:
        self.fill([row(line, self.room) for line in self._lines], highlighted)

    def choose(self, index: int) -> None:
        self.dismiss(self._lines[index].turn.id)


def lines_of(conversation: Conversation) -> list[Line]:
    """Every turn, depth first; a turn that is an only child stands below its parent without indentation."""
    shown = {turn.id for turn in conversation.path()}
    found: list[Line] = []
    waiting: list[tuple[Turn, str, str]] = []
    """A turn, the rail before it, and the rail of what is below it."""

    def push(children: list[Turn], rail: str) -> None:
        for turn in reversed(children):
            if len(children) == 1:
                waiting.append((turn, rail, rail))
            else:
                last = turn is children[-1]
                waiting.append((turn, rail + ("└ " if last else "├ "), rail + ("  " if last else "│ ")))

    push(conversation.children(None), "")
    while waiting:
        turn, rail, below = waiting.pop()
        found.append(Line(turn, rail, turn.id in shown))
        push(conversation.children(turn.id), below)
    return found


def row(line: Line, width: int) -> Content:
    is_user = line.turn.role == "user"
    text = on_one_line(line.turn.text[:200]) or "…"
    who = ("› ", "$primary") if is_user else ("· ", "$faint")
    style = ("bold" if is_user else "") if line.is_shown else "$faint"
    content = Content.assemble((line.rail, "$rule"), who, (text, style), ("  ●", "$success") if line.is_shown else "")
    return content.truncate(width, ellipsis=True)
