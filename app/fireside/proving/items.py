"""Prompts to prove with: what is asked, of which kind it is, how an answer is judged. Pure but for reading files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from fireside.arguments import usage_error
from fireside.proving import checks
from fireside.proving.checks import Check
from fireside.proving.kinds import KINDS, kind_of
from fireside.wire import JsonObject

MAX_TOKENS = 256
"""Of an answer whose prompt says nothing about it."""
_MEMBERS = {
    "id", "kind", "prompt", "messages", "check", "then_judge", "max_tokens", "schema", "good", "model", "temperature",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt."""

    id: str
    """Of its own within a run."""
    kind: str
    """One of KINDS."""
    messages: tuple[JsonObject, ...]
    check: JsonObject | None = None
    """As `checks.read` takes it; None leaves the answer to a judge."""
    then_judge: bool = False
    """Whether a judge compares answers that all pass the check."""
    max_tokens: int = MAX_TOKENS
    schema: JsonObject | None = None
    """What the answer is held to while it is generated."""
    good: str = field(default="", compare=False)
    """An answer that passes; of embedded items only."""

    @property
    def parsed_check(self) -> Check | None:
        return None if self.check is None else checks.read(self.check)

    @property
    def question(self) -> str:
        """The last thing that was asked."""
        return str(self.messages[-1].get("content") or "")

    @property
    def body(self) -> JsonObject:
        """Its members of a chat completion."""
        body: JsonObject = {"messages": list(self.messages), "max_tokens": self.max_tokens}
        if self.schema is not None:
            shape = {"name": "answer", "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    def to_json(self) -> JsonObject:
        return {
            "id": self.id,
            "kind": self.kind,
            "messages": list(self.messages),
            "check": self.check,
            "then_judge": self.then_judge,
            "max_tokens": self.max_tokens,
            "schema": self.schema,
        }

    @classmethod
    def of_json(cls, data: JsonObject) -> Item:
        """Inverse of `to_json`."""
        return cls(**{**data, "messages": tuple(data["messages"])})


def embedded(kinds: Iterable[str] = KINDS) -> list[Item]:
    """The sets that come with the program."""
    folder = resources.files("fireside.proving") / "sets"
    found = []
    for kind in kinds:
        text = (folder / f"{kind}.jsonl").read_text(encoding="utf-8")
        found += [read_item(line, f"{kind}.jsonl:{at}", kind) for at, line in enumerate(text.splitlines(), 1)]
    return found


def from_file(path: Path) -> list[Item]:
    """The user's prompts, one JSON object in each line. Raises Failure that names the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise usage_error(f"{path} cannot be read: {cause}.") from cause
    lines = [(at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        found = [read_item(line, f"{path.name}:{at}") for at, line in lines]
    except ValueError as cause:
        hint = 'A line is {"prompt": "…"} or {"messages": […]}, and may have kind, check, schema and max_tokens.'
        raise usage_error(f"{cause}.", hint=hint) from cause
    ids = [item.id for item in found]
    if twice := next((id_ for id_ in ids if ids.count(id_) > 1), None):
        raise usage_error(f"{path.name}: two prompts have the id {twice}.")
    return found


def read_item(line: str, where: str, kind: str = "") -> Item:
    """One line of a file. Raises ValueError that names `where`."""
    try:
        data: Any = json.loads(line)
    except ValueError as cause:
        raise ValueError(f"{where}: this is not JSON: {cause}") from cause
    try:
        return _item(data, where, kind)
    except ValueError as cause:
        raise ValueError(f"{where}: {cause}") from cause


def _item(data: Any, where: str, kind: str) -> Item:
    if not isinstance(data, dict):
        raise ValueError("a prompt is an object")
    if unknown := data.keys() - _MEMBERS:
        raise ValueError(f"unknown members: {', '.join(sorted(unknown))}")
    messages: Any = data.get("messages")
    if messages is None and isinstance(data.get("prompt"), str) and data["prompt"].strip():
        messages = [{"role": "user", "content": data["prompt"]}]
    if not _are_messages(messages):
        raise ValueError("it needs `prompt`, a text, or `messages` that end with the user's")
    check, schema = data.get("check"), data.get("schema")
    if check is not None:
        checks.read(check)
    if schema is not None and not isinstance(schema, dict):
        raise ValueError("`schema` is an object")
    if check is None and schema is not None:
        check = {"type": "schema", "schema": schema}
    max_tokens = data.get("max_tokens", MAX_TOKENS)
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise ValueError("`max_tokens` is a whole number above 0")
    kind = kind or data.get("kind") or kind_of(str(messages[-1].get("content") or ""), has_schema=schema is not None)
    if kind not in KINDS:
        raise ValueError(f"`kind` is one of {', '.join(KINDS)}")
    return Item(
        str(data.get("id") or where),
        kind,
        tuple(messages),
        check,
        data.get("then_judge") is True,
        max_tokens,
        schema,
        str(data.get("good") or ""),
    )


def _are_messages(messages: object) -> bool:
    if not isinstance(messages, list) or not messages:
        return False
    each = all(isinstance(m, dict) and isinstance(m.get("role"), str) and "content" in m for m in messages)
    return each and messages[-1]["role"] == "user"
