"""Texts that arguments name: files, `@FILE`, JSON given in place, and standard input as part of a prompt."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from fireside import schema_words, stdin
from fireside.arguments import usage_error
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.prompt import Material
from fireside.sanitize import clean_line
from fireside.terminal import Narrator

MAX_BYTES = 32 * 1024 * 1024
"""The engine takes no larger request, and no context holds that much."""


def read_file(name: str, narrator: Narrator) -> str:
    """The text of a file. Raises Failure in words for what is missing, not text, or far too large."""
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise usage_error(f"Cannot read {clean_line(name)}: {cause.strerror}.") from cause
    return decode(data, name, narrator)


def decode(data: bytes, name: str, narrator: Narrator) -> str:
    """Bytes as text. Old encodings are tolerated with a note, binary files are not."""
    name = clean_line(name)
    if len(data) > MAX_BYTES:
        message = f"{name} is larger than {MAX_BYTES // 1024**2} MiB; no context holds that."
        raise Failure(message, ExitCode.CONTEXT, code="too_large")
    if b"\0" in data:
        raise usage_error(f"{name} is not text.", hint="Convert it to text first.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        narrator.note(f"fireside: some bytes of {name} are no UTF-8 and were replaced")
        return data.decode("utf-8-sig", errors="replace")


def text_or_file(value: str, narrator: Narrator) -> str:
    """`value` itself, or the text of the file in `@FILE`."""
    return read_file(value[1:], narrator) if value.startswith("@") else value


def schema(value: str, narrator: Narrator, *, multi: bool = False) -> object:
    """A JSON schema: in place, as words, `@FILE`, or the name of a file. `multi` makes it one of a list of such."""
    parsed = _schema(value, narrator)
    return schema_words.many(parsed) if multi else parsed


def _schema(value: str, narrator: Narrator) -> object:
    in_place = value.lstrip().startswith("{") or value.strip() in ("true", "false")
    if not in_place and not value.startswith("@") and schema_words.looks_like_one(value) and not is_regular(value):
        try:
            return schema_words.parse(value)
        except ValueError as cause:
            raise usage_error(f"--schema: {cause}.") from cause
    source = value if in_place else read_file(value.removeprefix("@"), narrator)
    try:
        parsed: object = json.loads(source)
    except ValueError as cause:
        raise usage_error(f"--schema is no JSON: {cause}.") from cause
    if not isinstance(parsed, dict | bool):
        raise usage_error("--schema is no JSON schema: it must be an object.")
    return parsed


def read_stdin(*, prompt_given: bool, narrator: Narrator) -> Material:
    """Standard input to its end. The wait is explained only to users who may not know that they have to feed it."""
    hint = narrator.note if prompt_given else None
    return Material("", decode(stdin.read(MAX_BYTES, hint=hint), "stdin", narrator))


def materials(
    files: list[str], mode: stdin.StdinMode, *, prompt_given: bool, narrator: Narrator
) -> tuple[Material | None, list[Material]]:
    """Standard input if it belongs to the prompt, and the files; a file `-` is standard input at that place."""
    wanted = "-" in files or stdin.belongs_to_prompt(mode)
    if files.count("-") > 1:
        raise usage_error("Standard input can be read only once.", hint="Give `-f -` only once.")
    texts = [Material(name, "" if name == "-" else read_file(name, narrator)) for name in files]
    piped = read_stdin(prompt_given=prompt_given, narrator=narrator) if wanted else None
    if piped is None or "-" not in files:
        return (piped if piped and piped.text.strip() else None), texts
    return None, [piped if text.name == "-" else text for text in texts]


def is_regular(name: str) -> bool:
    """Whether a word of the prompt happens to name a file here."""
    try:
        return stat.S_ISREG(Path(name).stat().st_mode)
    except (OSError, ValueError):
        return False
