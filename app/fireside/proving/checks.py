"""What an answer can be checked by, without asking anybody. Pure; programs are run by `testing.py`.

A check comes from a file as an object with `type`; `read` refuses what it does not understand, so that a typing error
in a file of prompts cannot become a check that everything passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fireside.proving.json_answers import find_json, same, violation
from fireside.wire import JsonObject

MAX_DEPTH = 8
"""Of checks in checks."""
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:[,_]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|[-−]?\.\d+")
_EDGES = " \t\r\n\"'`*_.,;:!?“”„‘’«»()"


@dataclass(frozen=True, slots=True)
class Exact:
    """The answer is one of these texts; case, surrounding marks and runs of spaces do not count."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """A regular expression is found in the answer."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Contains:
    """All of `values` stand in the answer and none of `absent`; case does not count."""

    values: tuple[str, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """So many words, from `least` to `most`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Number:
    """The last number of the answer is this one."""

    value: float
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Json:
    """The answer holds JSON that is this value; `1` is `1.0`, and texts are compared like those of Exact."""

    value: Any


@dataclass(frozen=True, slots=True)
class Schema:
    """The answer holds JSON that fits this schema."""

    schema: JsonObject


@dataclass(frozen=True, slots=True)
class Python:
    """The answer's code passes these tests."""

    tests: str


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the user's ends with 0; `{file}` among its words is a file with the answer's code or text."""

    words: tuple[str, ...]
    suffix: str = ".txt"


@dataclass(frozen=True, slots=True)
class Every:
    """All of these hold."""

    checks: tuple[Check, ...]


Check = Exact | Matches | Contains | Words | Number | Json | Schema | Python | Command | Every


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    why: str = ""
    """In words, where it did not pass."""


def judge(check: Exact | Matches | Contains | Words | Number | Json | Schema, answer: str) -> Verdict:
    """What a check says that needs no program."""
    match check:
        case Exact(values):
            return _verdict(folded(answer) in {folded(value) for value in values}, f"it is not “{values[0]}”")
        case Matches(pattern):
            return _verdict(re.search(pattern, answer) is not None, f"/{pattern}/ is not in it")
        case Contains(values, absent):
            return _contains(values, absent, answer)
        case Words(least, most):
            n = len(answer.split())
            return _verdict(least <= n <= most, f"it has {n} words, not {least} to {most}")
        case Number(value, tolerance):
            found = last_number(answer)
            fits = found is not None and abs(found - value) <= tolerance + 1e-9 * max(1.0, abs(value))
            return _verdict(fits, f"its number is {found}, not {value}")
        case Json(value):
            found_json = find_json(answer)
            if found_json is None:
                return Verdict(False, "it holds no JSON")
            return _verdict(same(found_json.value, value), "its JSON is another value")
        case Schema(schema):
            found_json = find_json(answer)
            words = "it holds no JSON" if found_json is None else violation(found_json.value, schema)
            return Verdict(not words, words)


def folded(text: str) -> str:
    """A short answer without what does not count: case, marks around it, runs of spaces."""
    lines = [line for line in text.strip().splitlines() if not line.strip().startswith("```")]
    return " ".join(" ".join(lines).split()).strip(_EDGES).casefold()


def last_number(text: str) -> float | None:
    """The last number of a text, thousands separated or not."""
    found = None
    for match in _NUMBER.finditer(text):
        found = float(re.sub(r"[,_]", "", match.group()).replace("−", "-"))
    return found


def _contains(values: tuple[str, ...], absent: tuple[str, ...], answer: str) -> Verdict:
    low = answer.casefold()
    for value in values:
        if value.casefold() not in low:
            return Verdict(False, f"“{value}” is not in it")
    for value in absent:
        if value.casefold() in low:
            return Verdict(False, f"“{value}” is in it")
    return Verdict(True)


def _verdict(passed: bool, why: str) -> Verdict:
    return Verdict(passed, "" if passed else why)


def read(data: object, depth: int = 0) -> Check:
    """A check from its JSON. Raises ValueError with words."""
    if not isinstance(data, dict):
        raise ValueError("a check is an object with `type`")
    kind = data.get("type")
    if kind == "every":
        return _read_every(data, depth)
    if kind not in _MEMBERS:
        raise ValueError(f"there is no check of the type {kind!r}; there are {', '.join([*_MEMBERS, 'every'])}")
    required, optional = _MEMBERS[kind]
    members = data.keys() - {"type"}
    if missing := required.keys() - members:
        raise ValueError(f"the check {kind} lacks {', '.join(sorted(missing))}")
    for name in members:
        wanted = {**required, **optional}.get(name)
        if wanted is None:
            raise ValueError(f"the check {kind} knows no {name}")
        if wanted is not object and (not isinstance(data[name], wanted) or isinstance(data[name], bool)):
            raise ValueError(f"{name} of the check {kind} has the wrong type")
    return _build(str(kind), data)


_NUMERIC: Any = int | float
_MEMBERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({"values": list}, {}),
    "regex": ({"pattern": str}, {}),
    "contains": ({"values": list}, {"absent": list}),
    "words": ({"min": int, "max": int}, {}),
    "number": ({"value": _NUMERIC}, {"tolerance": _NUMERIC}),
    "json": ({"value": object}, {}),
    "schema": ({"schema": dict}, {}),
    "python": ({"tests": str}, {}),
    "command": ({"run": list}, {"suffix": str}),
}
"""Members that a check must have and may have, by type."""


def _build(kind: str, data: JsonObject) -> Check:
    match kind:
        case "exact":
            return Exact(_texts(data["values"], kind))
        case "regex":
            try:
                re.compile(data["pattern"])
            except re.error as cause:
                raise ValueError(f"{data['pattern']!r} is no regular expression: {cause}") from cause
            return Matches(data["pattern"])
        case "contains":
            return Contains(_texts(data["values"], kind), _texts(data.get("absent", []), kind, empty=True))
        case "words":
            return Words(data["min"], data["max"])
        case "number":
            return Number(float(data["value"]), float(data.get("tolerance", 0.0)))
        case "json":
            return Json(data["value"])
        case "schema":
            return Schema(data["schema"])
        case "python":
            return Python(data["tests"])
        case _:
            return Command(_texts(data["run"], kind), str(data.get("suffix", ".txt")))


def _read_every(data: JsonObject, depth: int) -> Every:
    parts = data.get("checks")
    if not isinstance(parts, list) or not parts or data.keys() - {"type", "checks"}:
        raise ValueError("the check every has `checks`, a list that is not empty, and nothing else")
    if depth >= MAX_DEPTH:
        raise ValueError("checks are nested too deep")
    return Every(tuple(read(part, depth + 1) for part in parts))


def _texts(values: list[object], kind: str, *, empty: bool = False) -> tuple[str, ...]:
    if (not values and not empty) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"the check {kind} takes a list of texts")
    return tuple(str(value) for value in values)
