"""Prompts to measure with: built-in ones of several kinds, a file of the user's, or the user's own history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fireside.arguments import usage_error
from fireside.conversations.tree import Conversation
from fireside.wire import JsonObject

HISTORY = "history"


class Workload(NamedTuple):
    name: str
    body: JsonObject
    """Members of a chat completion: messages, and perhaps the shape of the answer."""


_FILE = '''\
import csv
from pathlib import Path


class Ledger:
    """Bookings of one account, the oldest first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[tuple[str, str, float]] = []

    def load(self) -> None:
        with self.path.open(newline="") as file:
            for day, text, amount in csv.reader(file):
                self.rows.append((day, text, float(amount)))

    def save(self) -> None:
        with self.path.open("w", newline="") as file:
            writer = csv.writer(file)
            for day, text, amount in self.rows:
                writer.writerow([day, text, f"{amount:.2f}"])

    def add(self, day: str, text: str, amount: float) -> None:
        self.rows.append((day, text, amount))
        self.rows.sort(key=lambda row: row[0])

    def remove(self, text: str) -> int:
        kept = [row for row in self.rows if row[1] != text]
        removed = len(self.rows) - len(kept)
        self.rows = kept
        return removed

    def balance(self, until: str = "9999-12-31") -> float:
        total = 0.0
        for day, _text, amount in self.rows:
            if day <= until:
                total += amount
        return total

    def largest(self, count: int = 3) -> list[tuple[str, str, float]]:
        return sorted(self.rows, key=lambda row: -abs(row[2]))[:count]

    def by_month(self) -> dict[str, float]:
        months: dict[str, float] = {}
        for day, _text, amount in self.rows:
            month = day[:7]
            months[month] = months.get(month, 0.0) + amount
        return months

    def search(self, word: str) -> list[tuple[str, str, float]]:
        found = []
        for row in self.rows:
            if word.lower() in row[1].lower():
                found.append(row)
        return found


def main() -> None:
    ledger = Ledger(Path("ledger.csv"))
    ledger.load()
    for month, total in ledger.by_month().items():
        print(month, f"{total:10.2f}")
    print("balance", f"{ledger.balance():10.2f}")
'''
_PEOPLE = (
    "Ada Lovelace, 36, lives in London and writes from ada@engine.example. Grace Hopper (85) of Arlington answers at "
    "grace.hopper@navy.example. Alan Turing, who is 41, moved to Wilmslow; his address is alan@bletchley.example. "
    "Katherine Johnson, 101, is reached under katherine@nasa.example in Newport News. Linus Torvalds, 54, of Portland "
    "has the address torvalds@linux.example."
)
_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "email": {"type": "string"},
        "city": {"type": "string"},
    },
    "required": ["name", "age", "email", "city"],
    "additionalProperties": False,
}
_PEOPLE_SCHEMA = {
    "type": "object",
    "properties": {"people": {"type": "array", "items": _PERSON}},
    "required": ["people"],
    "additionalProperties": False,
}


def _ask(*turns: str) -> JsonObject:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]}


def built_in() -> list[Workload]:
    """An edit of a file, JSON under a schema, code, prose, and a turn of an agent that has seen such a turn before."""
    call = '{"tool": "grep", "arguments": {"pattern": "def balance", "path": "src/ledger.py", "context": 3}}'
    result = "src/ledger.py:36:    def balance(self, until: str) -> float:\nsrc/ledger.py:37:        total = 0.0"
    return [
        Workload(
            "edit",
            _ask(
                f"```python\n{_FILE}```\nRename the class Ledger to Account everywhere in this file."
                " Answer with the whole changed file and nothing else."
            ),
        ),
        Workload(
            "json",
            {
                **_ask(f"Extract all people from this text as JSON.\n{_PEOPLE}"),
                "response_format": {"type": "json_schema", "json_schema": {"name": "people", "schema": _PEOPLE_SCHEMA}},
            },
        ),
        Workload("code", _ask("Write a Python class for a stack of integers with push, pop, peek, and tests.")),
        Workload("prose", _ask("Tell a story about a lighthouse keeper and a storm.")),
        Workload(
            "agent",
            _ask(
                "You answer with one JSON object that calls a tool: grep, with pattern, path and context."
                " Find the function balance.",
                call,
                f"{result}\nNow find largest, by_month, remove and add, one call after the other, each in a line.",
            ),
        ),
    ]


def from_conversations(conversations: Sequence[Conversation]) -> list[Workload]:
    """Each up to its last question, with all that was said before it: as the next answer would be asked for."""
    found = []
    for conversation in conversations:
        messages = conversation.messages()
        while messages and messages[-1]["role"] != "user":
            messages.pop()
        if messages:
            found.append(Workload(f"{conversation.id[:6]} {conversation.title[:24]}".strip(), {"messages": messages}))
    return found


def from_file(path: Path) -> list[Workload]:
    """Prompts of a file: JSON objects with `messages` or `prompt` in lines (.jsonl), else texts between lines of ---.

    Raises Failure."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"{path} cannot be read: {error}.") from error
    if path.suffix == ".jsonl":
        return [_from_json(path, i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    prompts = [part.strip() for part in text.replace("\r\n", "\n").split("\n---\n")]
    return [Workload(f"{path.name} {i}", _ask(prompt)) for i, prompt in enumerate(prompts, 1) if prompt]


def _from_json(path: Path, number: int, line: str) -> Workload:
    try:
        data: Any = json.loads(line)
    except ValueError as error:
        raise usage_error(f"{path}:{number}: this is not JSON: {error}.") from error
    if isinstance(data, dict) and isinstance(data.get("messages"), list):
        return Workload(f"{path.name} {number}", {"messages": data["messages"]})
    if isinstance(data, dict) and isinstance(data.get("prompt"), str):
        return Workload(f"{path.name} {number}", _ask(data["prompt"]))
    raise usage_error(f"{path}:{number}: neither `messages` nor `prompt` is in it.")
