"""Copying that never claims more than it knows.

A native tool of this machine is asked first, and what it holds afterwards is read back where that is possible. Over
SSH, or without a tool, the text is sent to the terminal (OSC 52), which may take it or not; so that is what is said.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

TOOL_LIMIT = 3.0
"""Seconds for a clipboard tool; some wait for a display that is gone."""
OSC52_LIMIT = 74_994
"""Bytes of text that every terminal that knows OSC 52 accepts; xterm's limit of 100,000 in base64."""


class Tool(NamedTuple):
    """A program that owns the clipboard."""

    write: tuple[str, ...]
    read: tuple[str, ...] = ()
    """Empty where it cannot be read back."""


class Outcome(StrEnum):
    VERIFIED = "verified"
    """Written, read back, and the same."""
    WRITTEN = "written"
    """A tool took it without an error."""
    SENT = "sent"
    """Given to the terminal; nobody knows what it did."""
    FAILED = "failed"


def native_tool(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Tool | None:
    """The tool of this machine's desktop; None over SSH, where it would fill the wrong machine's clipboard."""
    if environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"):
        return None
    candidates: list[Tool] = []
    if platform == "darwin":
        candidates.append(Tool(("pbcopy",), ("pbpaste",)))
    if environment.get("WAYLAND_DISPLAY"):
        candidates.append(Tool(("wl-copy",), ("wl-paste", "--no-newline")))
    if environment.get("DISPLAY"):
        candidates.append(Tool(("xclip", "-selection", "clipboard"), ("xclip", "-selection", "clipboard", "-o")))
        candidates.append(Tool(("xsel", "--clipboard", "--input"), ("xsel", "--clipboard", "--output")))
    if environment.get("WSL_DISTRO_NAME"):
        candidates.append(Tool(("clip.exe",)))
    return next((tool for tool in candidates if shutil.which(tool.write[0])), None)


def copy(text: str, to_terminal: Callable[[str], None], tool: Tool | None) -> Outcome:
    """Copy `text`; `to_terminal` writes an escape sequence. Blocks for as long as the tool takes."""
    if tool is not None and _write(tool, text):
        return Outcome.VERIFIED if _holds(tool, text) else Outcome.WRITTEN
    data = text.encode(errors="replace")
    if len(data) > OSC52_LIMIT:
        return Outcome.FAILED
    to_terminal(osc52(data))
    return Outcome.SENT


def osc52(data: bytes, environment: Mapping[str, str] = os.environ) -> str:
    """The sequence that asks a terminal to take `data` into its clipboard; wrapped where tmux stands between."""
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    if environment.get("TMUX"):
        # tmux takes the first itself where `set-clipboard` is on, and passes the second where `allow-passthrough` is.
        doubled = sequence.replace("\x1b", "\x1b\x1b")
        return f"{sequence}\x1bPtmux;{doubled}\x1b\\"
    return sequence


def describe(outcome: Outcome, what: str) -> str:
    """What may be said about a copy of `what`."""
    match outcome:
        case Outcome.VERIFIED:
            return f"Copied {what}."
        case Outcome.WRITTEN:
            return f"Gave {what} to the clipboard."
        case Outcome.SENT:
            return f"Sent {what} to your terminal. Not in the clipboard? tab w writes a file."
        case Outcome.FAILED:
            return f"Could not copy {what}: too long for the terminal. tab w writes a file."


def write_file(text: str, directory: Path, suffix: str, name: str = "fireside") -> Path:
    """Write `text` to a new file in `directory`. Raises OSError."""
    for _ in range(100):
        path = directory / f"{name}-{secrets.token_hex(3)}{suffix}"
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise OSError(f"no free file name in {directory}")


def _write(tool: Tool, text: str) -> bool:
    try:
        done = subprocess.run(
            tool.write,
            input=text.encode(errors="replace"),
            # These tools stay in the background to serve the clipboard and would keep a pipe open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TOOL_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _holds(tool: Tool, text: str) -> bool:
    if not tool.read:
        return False
    try:
        done = subprocess.run(tool.read, stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout == text.encode(errors="replace")
