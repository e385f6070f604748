"""Conversations on disk: what the terminal app and the command line do with them.

Every call is one short transaction, and what it wrote is on the disk when it returns. Calls raise StoreFailure. Two
programs may write the same conversation at once: turns are only ever added, each below its own parent.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fireside.account import Account
from fireside.conversations.database import Database, default_path
from fireside.conversations.search import Excerpt, Plan, excerpt, holds, parse, plans
from fireside.conversations.tree import Conversation, Turn
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.prompt import Material
from fireside.sanitize import clean_line


class Summary(NamedTuple):
    """A conversation as a list shows it."""

    id: str
    title: str
    created: float
    updated: float
    """Seconds since the epoch."""
    n_turns: int
    """On all branches."""
    model: str
    """Of the newest answer."""
    pinned: bool


class Hit(NamedTuple):
    """A turn that has what was looked for; without a turn it is the conversation's title."""

    conversation: str
    title: str
    turn: str
    role: str
    created: float
    excerpt: Excerpt


class UnknownConversation(Failure):
    """No conversation is meant by what the user wrote, or more than one."""

    def __init__(self, message: str) -> None:
        hint = "`fireside ls` lists the conversations."
        super().__init__(message, ExitCode.USAGE, hint=hint, code="unknown_conversation")


_SUMMARY = """
SELECT id, title, created, updated, pinned,
    (SELECT count(*) FROM turns WHERE conversation = conversations.id) AS n_turns,
    coalesce((SELECT model FROM turns WHERE conversation = conversations.id AND role = 'assistant'
              ORDER BY number DESC LIMIT 1), '') AS model
FROM conversations
"""

_BRANCH_REMOVAL = """
DELETE FROM turns WHERE id IN (
    WITH RECURSIVE below (id) AS (VALUES (?) UNION SELECT turns.id FROM turns JOIN below ON turns.parent = below.id)
    SELECT id FROM below
)
"""


class Store:
    """All conversations of this user. May be used from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises StoreFailure."""
        self.database = Database(path or default_path())
        """For the functions of `desk`; conversations are written by methods."""

    def close(self) -> None:
        self.database.close()

    # --- writing

    def save(self, conversation: Conversation, turns: Iterable[Turn] = ()) -> None:
        """Write these turns, the leaf and the settings; what of the path to them is not there yet is written too.

        A turn that is there already gets its new text and account: an answer that is being written grows.
        """
        with self.database.transaction() as connection:
            _write_head(connection, conversation)
            known = _known_turns(connection, conversation.id)
            for turn in turns:
                for ancestor in conversation.path(turn.id):
                    if ancestor.id not in known or ancestor.id == turn.id:
                        _write_turn(connection, conversation.id, ancestor)
                        known.add(ancestor.id)

    def discard(self, conversation: Conversation, ids: Sequence[str]) -> None:
        """Take turns and what is below them away; the leaf is the conversation's. Without a turn left it goes too."""
        with self.database.transaction() as connection:
            connection.executemany(_BRANCH_REMOVAL, [(id_,) for id_ in ids])
            connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (conversation.leaf, conversation.id))
            if not _known_turns(connection, conversation.id):
                connection.execute("DELETE FROM conversations WHERE id = ?", (conversation.id,))
                connection.execute("INSERT OR IGNORE INTO removed (id) VALUES (?)", (conversation.id,))

    def rename(self, id_: str, title: str) -> None:
        """Give a title; an empty one gives the first words of the first question back."""
        with self.database.transaction() as connection:
            if not title:
                conversation = _load(connection, id_)
                conversation.named = ""
                connection.execute(
                    "UPDATE conversations SET title = ?, named = 0 WHERE id = ?", (conversation.title, id_)
                )
            else:
                connection.execute("UPDATE conversations SET title = ?, named = 1 WHERE id = ?", (title, id_))

    def pin(self, id_: str, pinned: bool) -> None:
        with self.database.transaction() as connection:
            connection.execute("UPDATE conversations SET pinned = ? WHERE id = ?", (pinned, id_))

    def remove(self, ids: Sequence[str]) -> None:
        """Remove conversations for good. The indexes are written anew, so that no word of them stays in the file.

        Their ids stay until the engine has removed what it has of them (`removed`).
        """
        with self.database.transaction() as connection:
            for id_ in ids:
                connection.execute("INSERT OR IGNORE INTO removed (id) VALUES (?)", (id_,))
                connection.execute("DELETE FROM turns WHERE conversation = ?", (id_,))
                connection.execute("DELETE FROM drafts WHERE conversation = ?", (id_,))
                connection.execute("DELETE FROM conversations WHERE id = ?", (id_,))
            for index in ("words", "trigrams"):
                connection.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")  # noqa: S608 - our own names

    def removed(self) -> list[str]:
        """Ids of conversations of which the engine may still have something."""
        return [str(row["id"]) for row in self.database.rows("SELECT id FROM removed")]

    def forget_removed(self, ids: Sequence[str]) -> None:
        """The engine has nothing of them any more."""
        with self.database.transaction() as connection:
            connection.executemany("DELETE FROM removed WHERE id = ?", [(id_,) for id_ in ids])

    # --- reading

    def load(self, id_: str) -> Conversation:
        """Raises UnknownConversation."""
        with self.database.transaction(writes=False) as connection:
            return _load(connection, id_)

    def summaries(self, limit: int | None = None) -> list[Summary]:
        """Pinned ones first, then the newest first."""
        rows = self.database.rows(f"{_SUMMARY} ORDER BY pinned DESC, updated DESC, id LIMIT ?", (limit or -1,))
        return [_summary(row) for row in rows]

    def last(self) -> str | None:
        """The id of the conversation that was written last."""
        rows = self.database.rows("SELECT id FROM conversations ORDER BY updated DESC LIMIT 1")
        return str(rows[0]["id"]) if rows else None

    def recent_questions(self, limit: int = 100) -> list[str]:
        """What was asked last, in all conversations; oldest first, and nothing twice in a row."""
        rows = self.database.rows(
            "SELECT text FROM turns WHERE role = 'user' AND text <> '' ORDER BY number DESC LIMIT ?", (limit,)
        )
        texts = [str(row["text"]) for row in reversed(rows)]
        return [text for at, text in enumerate(texts) if at == 0 or text != texts[at - 1]]

    def resolve(self, word: str) -> str:
        """The id that the user means: itself, a beginning that only one id has, or `last`.

        Raises UnknownConversation.
        """
        wanted = word.strip().lower()
        if wanted == "last":
            last = self.last()
            if last is None:
                raise UnknownConversation("There is no conversation yet.")
            return last
        rows = self.database.rows(
            "SELECT id FROM conversations WHERE substr(id, 1, ?) = ? LIMIT 2", (len(wanted), wanted)
        )
        if len(rows) == 1 and wanted:
            return str(rows[0]["id"])
        what = "More than one conversation begins" if rows else "There is no conversation that begins"
        raise UnknownConversation(f"{what} with “{clean_line(word)}”.")

    def search(self, query: str, *, within: str | None = None, limit: int = 50) -> list[Hit]:
        """Titles and turns that hold all words of `query`, the best first; "in quotes" words stand together."""
        terms = parse(query)
        if not terms:
            return []
        hits = [] if within else self._titles(terms, limit)
        found: set[int] = set()
        for plan in plans(terms):
            for row in self._matches(plan, within, limit):
                if row["number"] not in found and holds(row["text"], terms, plan.by):
                    found.add(row["number"])
                    where = excerpt(row["text"], terms)
                    hits.append(Hit(row["conversation"], row["title"], row["id"], row["role"], row["created"], where))
            if found:
                break
        return hits[:limit]

    def _titles(self, terms: Sequence[str], limit: int) -> list[Hit]:
        """Titles that the user gave; the others stand in a turn."""
        rows = self.database.rows("SELECT id, title, updated FROM conversations WHERE named ORDER BY updated DESC")
        return [
            Hit(row["id"], row["title"], "", "title", row["updated"], excerpt(row["title"], terms))
            for row in rows
            if holds(row["title"], terms, "parts")
        ][:limit]

    def _matches(self, plan: Plan, within: str | None, limit: int) -> list[sqlite3.Row]:
        index = {"words": "words", "trigrams": "trigrams"}.get(plan.by)
        join = f"JOIN {index} ON {index}.rowid = turns.number" if index else ""
        order = f"{index}.rank" if index else "turns.number DESC"
        where, values = [plan.condition], list(plan.values)
        if within:
            where.append("turns.conversation = ?")
            values.append(within)
        return self.database.rows(
            "SELECT turns.number, turns.id, turns.conversation, turns.role, turns.text, turns.created, title "  # noqa: S608
            f"FROM turns {join} JOIN conversations ON conversations.id = turns.conversation "
            f"WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?",
            [*values, limit],
        )


def _write_head(connection: sqlite3.Connection, conversation: Conversation) -> None:
    now = time.time()
    connection.execute(
        """
        INSERT INTO conversations (id, title, named, system, settings, pinned, leaf, created, updated)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET system = excluded.system, settings = excluded.settings, leaf = excluded.leaf,
            updated = max(updated, excluded.updated), title = iif(named, title, excluded.title)
        """,
        (
            conversation.id,
            conversation.title,
            bool(conversation.named),
            conversation.system,
            json.dumps(conversation.settings, ensure_ascii=False),
            conversation.pinned,
            conversation.leaf,
            conversation.created,
            now,
        ),
    )


def _write_turn(connection: sqlite3.Connection, conversation: str, turn: Turn) -> None:
    account = None if turn.account is None else json.dumps(turn.account.to_json(), ensure_ascii=False)
    materials = json.dumps([list(material) for material in turn.materials], ensure_ascii=False)
    settings = json.dumps(turn.settings, ensure_ascii=False)
    connection.execute(
        """
        INSERT INTO turns
            (id, conversation, parent, role, text, reasoning, materials, model, settings, account, created)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET text = excluded.text, reasoning = excluded.reasoning, model = excluded.model,
            settings = excluded.settings, account = excluded.account
        """,
        (
            turn.id,
            conversation,
            turn.parent,
            turn.role,
            _storable(turn.text),
            _storable(turn.reasoning),
            _storable(materials),
            turn.model,
            settings,
            account,
            turn.created,
        ),
    )


def _storable(text: str) -> str:
    """SQLite keeps text as UTF-8, which has no lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _known_turns(connection: sqlite3.Connection, conversation: str) -> set[str]:
    rows = connection.execute("SELECT id FROM turns WHERE conversation = ?", (conversation,)).fetchall()
    return {str(row["id"]) for row in rows}


def _load(connection: sqlite3.Connection, id_: str) -> Conversation:
    head = connection.execute("SELECT * FROM conversations WHERE id = ?", (id_,)).fetchone()
    if head is None:
        raise UnknownConversation(f"There is no conversation {id_}.")
    rows = connection.execute("SELECT * FROM turns WHERE conversation = ? ORDER BY number", (id_,)).fetchall()
    turns: dict[str, Turn] = {}
    for turn in map(_turn, rows):
        # Two programs may remove a branch and go on with it at the same moment: what was added becomes a beginning.
        turns[turn.id] = turn if turn.parent in turns else replace(turn, parent=None)
    return Conversation(
        system=head["system"],
        id=head["id"],
        turns=turns,
        leaf=head["leaf"] if head["leaf"] in turns else next(reversed(turns), None),
        named=head["title"] if head["named"] else "",
        settings=json.loads(head["settings"]),
        pinned=bool(head["pinned"]),
        created=head["created"],
    )


def _turn(row: sqlite3.Row) -> Turn:
    account: dict[str, Any] | None = json.loads(row["account"]) if row["account"] else None
    return Turn(
        id=row["id"],
        parent=row["parent"],
        role=row["role"],
        text=row["text"],
        reasoning=row["reasoning"],
        materials=tuple(Material(*entry) for entry in json.loads(row["materials"])),
        model=row["model"],
        settings=json.loads(row["settings"]),
        account=None if account is None else Account.of_json(account),
        created=row["created"],
    )


def _summary(row: sqlite3.Row) -> Summary:
    return Summary(
        row["id"], row["title"], row["created"], row["updated"], row["n_turns"], row["model"], bool(row["pinned"])
    )
