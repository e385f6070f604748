"""`fireside config`: what is set, in `config.toml` of the engine and `app.toml` of the app."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fireside import app_settings, toml_edit
from fireside.arguments import Parser, did_you_mean, number, usage_error
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output
from fireside_engine import address

ENGINE_KEYS = {"model": str, "other_stores": bool, "deterministic": bool}
CACHE_KEYS = {"enabled": bool, "budget": str}
"""Of `cache.KEY`."""
AUTO_KEYS = {"mode": str, "threshold": float, "tolerance": float, "escalate": str, "shadow": float, "roster": list}
"""Of `auto.KEY`."""
REMOTE_KEYS = {"url": str, "model": str, "key_env": str, "timeout": float, "on_failure": str}
"""Of `remotes.NAME.KEY`."""
MODEL_KEYS = {
    "deterministic": bool,
    "n_ctx": int,
    "n_slots": int,
    "n_threads": int,
    "draft": str,
    "kv_type": str,
    "cache": bool,
}
"""Of `models.NAME.KEY`."""
APP_KEYS = {"save": bool, "theme": str, "vim": bool, "tint": bool}
APP_TABLES = ("keys", "personas")
_EPILOG = """\
fireside config                              all that is set
fireside config path                         where the files are
fireside config get KEY
fireside config set KEY VALUE
fireside config unset KEY
fireside config edit [app]                   in $EDITOR: config.toml, or app.toml

Keys of the engine: model, deterministic, other_stores, cache.enabled, cache.budget, and of single models
                    models.NAME.n_ctx, .n_slots, .n_threads, .kv_type, .deterministic, .draft, .cache
                    auto.roster (names, with commas between them), .mode, .threshold, .tolerance, .escalate, .shadow,
                    and of engines elsewhere that auto.roster names
                    remotes.NAME.url, .model, .key_env, .timeout, .on_failure
Keys of the app:    save, theme, vim, personas.NAME, keys.NAME"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("config", "Show and change what is set.", _EPILOG)
    parser.add_argument("action", nargs="?", choices=("path", "get", "set", "unset", "edit"), default=None)
    parser.add_argument("key", nargs="?", metavar="KEY", help='e.g. model, or models."NAME".n_ctx')
    parser.add_argument("value", nargs="?", metavar="VALUE")
    args = parser.read(words)
    wants_key, wants_value = args.action in ("get", "set", "unset"), args.action == "set"
    if (wants_key and args.key is None) or (wants_value and args.value is None):
        raise usage_error(f"`config {args.action}` needs {'KEY VALUE' if wants_value else 'KEY'}.")
    if args.value is not None and not wants_value:
        raise usage_error(f"Unexpected argument: {args.value}.")
    match args.action:
        case None:
            Output().write(_all())
        case "path":
            Output().write(f"{_engine_file()}\n{app_settings.path()}\n")
        case "get":
            file, key = _place(args.key)
            value = toml_edit.get_key(_data(file), key)
            if value is None:
                Narrator().note(f"fireside: {args.key} is not set")
                return ExitCode.FAILED
            Output().write(f"{_shown(value)}\n")
        case "edit":
            return _edit(app_settings.path() if args.key == "app" else _engine_file())
        case _:
            _change(args.key, args.value)
    return ExitCode.OK


def _engine_file() -> Path:
    return address.config_dir() / "config.toml"


def _all() -> str:
    lines = []
    for file in (_engine_file(), app_settings.path()):
        lines.append(f"# {file}{'' if file.is_file() else ' (not there: nothing is set)'}")
        lines += [f"{key} = {_shown(value)}" for key, value in _flat(_data(file))]
    return "\n".join(lines) + "\n"


def _place(text: str) -> tuple[Path, list[str]]:
    """Which file a key is of, and its parts. Raises Failure for one that nobody reads."""
    try:
        key = toml_edit.split_key(text)
    except ValueError:
        # Names of models and keys have dots and signs that TOML wants quoted.
        key = text.split(".")
    if len(key) > 3 and key[0] == "models":
        key = ["models", ".".join(key[1:-1]), key[-1]]
    if len(key) == 2 and key[0] == "auto" and key[1] in AUTO_KEYS:
        return _engine_file(), key
    if len(key) == 3 and key[0] == "remotes" and key[2] in REMOTE_KEYS:
        return _engine_file(), key
    if len(key) > 2 and key[0] in APP_TABLES:
        key = [key[0], ".".join(key[1:])]
    if (len(key) == 1 and key[0] in APP_KEYS) or (len(key) == 2 and key[0] in APP_TABLES):
        return app_settings.path(), key
    if len(key) == 2 and key[0] == "cache" and key[1] in CACHE_KEYS:
        return _engine_file(), key
    if (len(key) == 1 and key[0] in ENGINE_KEYS) or (len(key) == 3 and key[0] == "models" and key[2] in MODEL_KEYS):
        return _engine_file(), key
    known = [*ENGINE_KEYS, *(f"cache.{name}" for name in CACHE_KEYS), *APP_KEYS, *APP_TABLES, "models"]
    names = [f"{'.'.join(key[:-1])}.{name}" for name in MODEL_KEYS] if key[0] == "models" else known
    hint = f"{did_you_mean('.'.join(key), names)} `fireside config --help` lists the keys.".strip()
    raise usage_error(f"There is no key {text}.", hint=hint)


def _kind(key: list[str]) -> type:
    if key[0] == "models":
        return MODEL_KEYS[key[-1]]
    if key[0] in ("auto", "remotes"):
        return {"auto": AUTO_KEYS, "remotes": REMOTE_KEYS}[key[0]][key[-1]]
    if key[0] == "cache":
        return CACHE_KEYS[key[-1]]
    return str if key[0] in APP_TABLES else {**ENGINE_KEYS, **APP_KEYS}[key[0]]


def _change(name: str, value: str | None) -> None:
    file, key = _place(name)
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    try:
        changed = toml_edit.set_key(text, key, None if value is None else _parsed(name, value, _kind(key)))
    except (toml_edit.NotEditableError, tomllib.TOMLDecodeError) as cause:
        raise usage_error(f"{file}: {cause}.", hint="`fireside config edit` opens the file.") from cause
    if file == app_settings.path():
        try:
            app_settings.read(tomllib.loads(changed))
        except ValueError as cause:
            raise usage_error(f"{cause}.") from cause
    address.make_private(file.parent)
    address.write_private(file, changed)
    if file == _engine_file():
        Narrator().note("fireside: a running engine reads this when it loads the next model; `fireside stop` ends it")


def _parsed(name: str, value: str, kind: type) -> str | bool | int | float | list[str]:
    if kind is bool:
        if value not in ("true", "false"):
            raise usage_error(f"{name} is true or false, not {value}.")
        return value == "true"
    if kind is int:
        if not value.isdecimal():
            raise usage_error(f"{name} is a whole number, not {value}.")
        return int(value)
    if kind is float:
        try:
            return number(value)
        except argparse.ArgumentTypeError:
            raise usage_error(f"{name} is a number, not {value}.") from None
    return [word.strip() for word in value.split(",") if word.strip()] if kind is list else value


def _edit(file: Path) -> ExitCode:
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    address.make_private(file.parent)
    return ExitCode.OK if subprocess.run([*editor, str(file)], check=False).returncode == 0 else ExitCode.FAILED


def _data(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise usage_error(f"{file} is no TOML: {cause}.", hint="`fireside config edit` opens the file.") from cause


def _flat(data: dict[str, Any], before: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in data.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", value)]
    return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
