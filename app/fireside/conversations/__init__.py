"""Conversations that stay: an append-only tree of turns in SQLite, shared by the terminal app and the command line."""
