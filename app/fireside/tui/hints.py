"""The keys that matter now, for the end of the status line. Pure."""

from __future__ import annotations


def hints(*, is_busy: bool, is_command: bool, is_reading: bool, is_editing: bool) -> list[tuple[str, str]]:
    """Pairs of a key and what it does, the most important first."""
    if is_busy:
        return [("esc", "stop")]
    if is_command:
        return [("tab", "complete")]
    if is_reading:
        return [("e", "edit"), ("r", "retry"), ("y", "copy"), ("c", "code"), ("t", "tree"), ("esc", "prompt")]
    if is_editing:
        return [("enter", "send as a branch"), ("esc", "leave it")]
    return [("f1", "help"), ("^p", "commands")]
