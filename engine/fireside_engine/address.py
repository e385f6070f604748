"""Where everything lies, and where the engine of this user listens. Standard library and platformdirs only.

This module is the public face of the engine for programs that start or find it; it loads nothing else of the engine.
Paths are functions: nothing is created at import. `FIRESIDE_HOME` moves models, cache, data, config and runtime as one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fireside_engine import __version__

DEFAULT_PORT = 11555
PROTOCOL = 1
"""Raised when client and engine of two versions could no longer understand each other."""

HOME_VARIABLE = "FIRESIDE_HOME"


def _home() -> Path | None:
    value = os.environ.get(HOME_VARIABLE)
    return Path(value).expanduser().resolve() if value else None


def models_dir() -> Path:
    """Every `.gguf` in it is a model named by its file stem."""
    if home := _home():
        return home / "models"
    import platformdirs

    return Path(platformdirs.user_data_dir("fireside", appauthor=False)) / "models"


def data_dir() -> Path:
    """What the user would miss: conversations, keys."""
    if home := _home():
        return home / "data"
    import platformdirs

    return Path(platformdirs.user_data_dir("fireside", appauthor=False))


def config_dir() -> Path:
    """What the user writes: `models.toml`, `config.toml`."""
    if home := _home():
        return home / "config"
    import platformdirs

    return Path(platformdirs.user_config_dir("fireside", appauthor=False))


def cache_dir() -> Path:
    """What can be made again: KV blocks, measurements, compiled kernels."""
    if home := _home():
        return home / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("fireside", appauthor=False))


def log_dir() -> Path:
    if home := _home():
        return home / "logs"
    import platformdirs

    return Path(platformdirs.user_log_dir("fireside", appauthor=False))


def runtime_dir() -> Path:
    """Lock, port and token of the running engine. Mode 0700; per user, and per `FIRESIDE_HOME`."""
    if home := _home():
        return home / "runtime"
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR it warns of a directory under /tmp; `make_private` sees to the mode.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("fireside", appauthor=False))


def make_private(directory: Path) -> Path:
    """Create `directory` with mode 0700. Raises PermissionError if somebody else owns it or others may enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        info = directory.stat()
        if info.st_uid != os.getuid():
            raise PermissionError(f"{directory} belongs to another user; set {HOME_VARIABLE} to a directory of yours")
        if stat.S_IMODE(info.st_mode) & 0o077:
            directory.chmod(0o700)
    return directory


def write_private(path: Path, text: str) -> None:
    """Replace `path` as one step, readable by the owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What a running engine writes into the runtime directory once it listens."""

    pid: int
    host: str
    port: int
    version: str
    protocol: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def lock_path() -> Path:
    """Held with flock for the engine's whole life, so that a dead engine leaves no lock behind."""
    return runtime_dir() / "engine.lock"


def record_path() -> Path:
    return runtime_dir() / "engine.json"


def token_path() -> Path:
    return runtime_dir() / "token"


def read_record() -> EngineRecord | None:
    """The record of the engine that runs, or last ran; None if there is none or it is unreadable."""
    try:
        return EngineRecord(**json.loads(record_path().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(record: EngineRecord) -> None:
    make_private(runtime_dir())
    write_private(record_path(), json.dumps(asdict(record)))


def read_token() -> str | None:
    """The owner's token: whoever can read it may manage the engine."""
    try:
        return token_path().read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def ensure_token() -> str:
    """The owner's token, made on first use. Two processes that start together agree on one."""
    make_private(runtime_dir())
    if token := read_token():
        return token
    token = secrets.token_urlsafe(32)
    try:
        handle = os.open(token_path(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token() or _replace_token(token)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(token)
    return token


def _replace_token(token: str) -> str:
    write_private(token_path(), token)
    return token


def prove(token: str, nonce: str) -> str:
    """What `GET /fireside/hello?nonce=…` answers: proof that the listener is this user's engine, not a stranger's.

    A client asks for it before it ever sends the token itself.
    """
    return hmac.new(token.encode(), nonce.encode(), hashlib.sha256).hexdigest()


def engine_command(
    *,
    port: int | Literal["auto"] | None = None,
    host: str | None = None,
    idle_exit: float | None = None,
    deterministic: bool = False,
    draft: str | None = None,
    api_key_file: str | None = None,
) -> list[str]:
    """The command that runs an engine server in the foreground, with this interpreter.

    Port "auto" is the default one, or any other where that is taken.
    """
    import sys

    # -P: whatever lies in the directory where the engine is started must not shadow a module of it.
    command = [sys.executable, "-P", "-m", "fireside_engine.server"]
    if port is not None:
        command += ["--port", str(port)]
    if host is not None:
        command += ["--host", host]
    if idle_exit is not None:
        command += ["--idle-exit", str(idle_exit)]
    if deterministic:
        command += ["--deterministic"]
    if draft is not None:
        command += ["--draft", draft]
    if api_key_file is not None:
        command += ["--api-key-file", api_key_file]
    return command


def pull_command(
    target: str, *, quant: str = "", check: bool = False, dry_run: bool = False, peek: bool = False
) -> list[str]:
    """The command that gets a model; it tells of it on standard output as lines of JSON (models/acquire_child.py).

    `dry_run` only asks what there is; `peek` gets the header alone, as a file that a dry run can read.
    """
    import sys

    command = [sys.executable, "-P", "-m", "fireside_engine.models.acquire_child", f"--quant={quant}"]
    command += ["--check"] if check else []
    command += ["--dry-run"] if dry_run else []
    command += ["--peek"] if peek else []
    return [*command, "--", target]


def machine_command() -> list[str]:
    """The command that tells of this machine on standard output, as one JSON object (server/machine_report.py)."""
    import sys

    return [sys.executable, "-P", "-m", "fireside_engine.server.machine_report"]


def client_version() -> str:
    return __version__
