"""From what the user calls a model to the name the engine knows it by."""

from __future__ import annotations

import os
from pathlib import Path

from fireside import settings
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.failure import Failure


def is_path(word: str) -> bool:
    """Whether `-m` names a file instead of a model: it has a directory, or the ending of model files."""
    return os.sep in word or word.lower().endswith(".gguf")


class ModelChoice:
    """A model as the user wrote it. What can be checked without the engine is checked at once."""

    def __init__(self, word: str | None) -> None:
        self.name = settings.default_model() if word is None else word
        """Empty lets the engine choose."""
        self._path: Path | None = None
        if is_path(self.name):
            path = Path(self.name).expanduser()
            if not path.exists():
                hint = "Without a directory and without .gguf it is a name; `fireside models` lists those."
                raise Failure(f"No such model file: {self.name}", ExitCode.MODEL, hint=hint, code="model_not_found")
            if not path.is_file():
                raise Failure(f"Not a model file: {self.name}", ExitCode.MODEL, code="not_a_model")
            self._path = path.resolve()

    @property
    def lasting_name(self) -> str:
        """What names the same model in another engine and another directory."""
        return self.name if self._path is None else str(self._path)

    def resolve(self, client: EngineClient) -> str:
        """The name to ask the engine for; a file is made known to it first. Raises EngineFailure."""
        if self._path is None:
            return self.name
        return str(client.post("/fireside/register", {"path": str(self._path)})["name"])
