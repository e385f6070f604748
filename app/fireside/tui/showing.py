"""From turns to the messages of a transcript."""

from __future__ import annotations

from functools import partial

from fireside.account import Account
from fireside.conversations.tree import Conversation, Turn
from fireside.failure import Failure
from fireside.thinking import Piece
from fireside.tui.widgets.message import AnswerMessage, UserMessage
from fireside.tui.widgets.transcript_view import Entry


def entry_of(
    conversation: Conversation,
    turn: Turn,
    failure: Failure | None = None,
    remark: str = "",
    *,
    read_rate: float | None = None,
) -> Entry:
    """A turn as a message, not mounted yet."""
    branch = conversation.place(turn)
    if turn.role == "user":
        return Entry(turn.id, partial(UserMessage, turn.text, turn.materials, branch))
    pieces = [Piece("thinking", turn.reasoning), Piece("answer", turn.text)]
    shown = [piece for piece in pieces if piece.text]
    account = turn.account or Account(model=turn.model, ending="failed")
    return Entry(turn.id, partial(AnswerMessage.of, shown, account, failure, remark, branch, read_rate))


def entries_of(conversation: Conversation) -> list[Entry]:
    """The path of a conversation."""
    return [entry_of(conversation, turn) for turn in conversation.path()]
