"""The tables, as the steps that lead to them. A step that was published is never changed; a new one is added.

Two indexes of the text: words for most languages, and runs of three characters for those that write without spaces and
for parts of words. Both hold no text of their own and follow the turns by triggers, so whoever writes a turn, writes
them in the same transaction.
"""

from __future__ import annotations

_FIRST = """
CREATE TABLE conversations (
    id       TEXT PRIMARY KEY,
    title    TEXT NOT NULL,
    named    INTEGER NOT NULL DEFAULT 0,
    system   TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL DEFAULT '{}',
    pinned   INTEGER NOT NULL DEFAULT 0,
    leaf     TEXT,
    created  REAL NOT NULL,
    updated  REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX conversations_by_time ON conversations (updated);
CREATE TABLE turns (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent       TEXT,
    role         TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text         TEXT NOT NULL,
    reasoning    TEXT NOT NULL DEFAULT '',
    materials    TEXT NOT NULL DEFAULT '[]',
    model        TEXT NOT NULL DEFAULT '',
    settings     TEXT NOT NULL DEFAULT '{}',
    account      TEXT,
    created      REAL NOT NULL
);
-- Conversations whose KV the engine still has to remove.
CREATE TABLE removed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX turns_of_conversation ON turns (conversation, number);
CREATE INDEX turns_below ON turns (parent);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='turns', content_rowid='number', tokenize='unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE trigrams USING fts5 (text, content='turns', content_rowid='number', tokenize='trigram');
CREATE TRIGGER turns_added AFTER INSERT ON turns BEGIN
    INSERT INTO words (rowid, text) VALUES (new.number, new.text);
    INSERT INTO trigrams (rowid, text) VALUES (new.number, new.text);
END;
CREATE TRIGGER turns_removed AFTER DELETE ON turns BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
    INSERT INTO trigrams (trigrams, rowid, text) VALUES ('delete', old.number, old.text);
END;
CREATE TRIGGER turns_changed AFTER UPDATE OF text ON turns BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
    INSERT INTO trigrams (trigrams, rowid, text) VALUES ('delete', old.number, old.text);
    INSERT INTO words (rowid, text) VALUES (new.number, new.text);
    INSERT INTO trigrams (rowid, text) VALUES (new.number, new.text);
END;
"""

_DRAFTS = """
-- What was being written when the chat was left; '' is a chat that has no question yet.
CREATE TABLE drafts (
    conversation TEXT PRIMARY KEY,
    text         TEXT NOT NULL,
    updated      REAL NOT NULL
) WITHOUT ROWID;
-- What the app remembers of itself.
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

STEPS: tuple[str, ...] = (_FIRST, _DRAFTS)
"""Step n leads from version n to version n + 1 (`PRAGMA user_version`)."""
