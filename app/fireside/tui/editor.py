"""The prompt in the user's own editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path


def command() -> list[str]:
    return shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")


def edit(text: str) -> str:
    """What the user made of it; the terminal must be free. Raises OSError if there is no such editor, or it failed."""
    handle, name = tempfile.mkstemp(prefix="fireside-", suffix=".md")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        done = subprocess.run([*command(), name], check=False)
        if done.returncode:
            raise OSError(f"{command()[0]} ended with status {done.returncode}")
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
    finally:
        path.unlink(missing_ok=True)
