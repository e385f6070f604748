"""GBNF, llama.cpp's grammar language, to the Lark dialect of the grammar compiler, with the same language as a result.

Lark has two levels, terminals that match greedily and rules made of terminals; GBNF has only characters. A grammar
without recursion becomes one terminal, which is exact and fast. With recursion every character becomes a terminal of
its own, which is exact too, and slower: greedy words would swallow what a later rule needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fireside_engine.core.grammar_limits import MAX_EXPANSION, MAX_REPEAT, MAX_RULES, check_size
from fireside_engine.errors import InvalidConstraint

MAX_DEPTH = 100
"""Brackets inside brackets; this reader recurses."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BOUNDS = re.compile(r"\{\s*(\d{1,9})\s*(,)?\s*(\d{1,9})?\s*\}")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "/": "/", "^": "^"}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """Another rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other; empty matches the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of them."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Again and again; `most` None has no end."""

    part: Node
    least: int
    most: int | None


Node = Chars | Ref | Seq | Alt | Repeat


def gbnf_to_lark(source: str) -> str:
    """Raises InvalidConstraint, with the line, for what is not GBNF or passes a limit."""
    rules = _Parser(source).rules()
    if "root" not in rules:
        raise InvalidConstraint('The grammar has no rule "root".', hint="GBNF starts at root ::= …")
    order = _reachable(rules)
    names = {name: f"r{i}" for i, name in enumerate(order)}
    is_regular = not _is_recursive(rules, order)
    if is_regular:
        names = {name: label.upper() for name, label in names.items()}
    if sum(_size(rules[name]) for name in order) > MAX_EXPANSION:
        words = f"The grammar has more than {MAX_EXPANSION} elements when its repetitions are written out."
        raise InvalidConstraint(words, hint="Use smaller bounds in {m,n}.")
    lines = [f"start: {names['root']}"]
    lines += [f"{names[name]}: {_lark(rules[name], names)}" for name in order]
    return "\n".join(lines) + "\n"


class _Parser:
    def __init__(self, source: str) -> None:
        check_size(source, "grammar")
        self._source = source
        self._at = 0
        self._depth = 0

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        self._skip(lines=True)
        while self._at < len(self._source):
            name = self._name()
            self._skip()
            if not self._source.startswith("::=", self._at):
                raise self._error("::= is missing")
            self._at += 3
            self._skip(lines=True)
            found[name] = self._alternatives(nested=False)
            if self._peek() not in ("", "\r", "\n"):
                raise self._error(f"{self._peek()!r} is out of place")
            self._skip(lines=True)
            if len(found) > MAX_RULES:
                raise InvalidConstraint(f"The grammar has more than {MAX_RULES} rules.", hint="Make it smaller.")
        return found

    def _alternatives(self, *, nested: bool) -> Node:
        options = [self._sequence(nested=nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            options.append(self._sequence(nested=nested))
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def _sequence(self, *, nested: bool) -> Node:
        parts: list[Node] = []
        while (c := self._peek()) and c not in "|)\r\n":
            part = self._element()
            self._skip(lines=nested)
            repeated = self._repetition(part)
            if repeated is not None:
                part = repeated
                self._skip(lines=nested)
            parts.append(part)
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def _element(self) -> Node:
        c = self._peek()
        if c == '"':
            return self._literal()
        if c == "[":
            return self._class()
        if c == ".":
            self._at += 1
            return Chars((), negated=True)
        if c == "(":
            return self._group()
        if _NAME.match(c):
            return Ref(self._name())
        if c in "<!":
            raise self._error("tokens in grammars are not supported; use a Lark grammar")
        raise self._error(f"{c!r} is out of place")

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            words = f"The grammar is nested deeper than {MAX_DEPTH} brackets."
            raise InvalidConstraint(words, hint="Give inner parts names of their own.")
        self._at += 1
        self._skip(lines=True)
        node = self._alternatives(nested=True)
        if self._peek() != ")":
            raise self._error("a bracket is not closed")
        self._at += 1
        self._depth -= 1
        return node

    def _repetition(self, part: Node) -> Repeat | None:
        c = self._peek()
        if c and c in "*+?":
            self._at += 1
            return Repeat(part, 1 if c == "+" else 0, 1 if c == "?" else None)
        if c != "{":
            return None
        bounds = _BOUNDS.match(self._source, self._at)
        if bounds is None:
            raise self._error("a repetition looks like {2}, {2,} or {2,5}")
        self._at = bounds.end()
        least = int(bounds[1])
        most = least if bounds[2] is None else int(bounds[3]) if bounds[3] else None
        if max(least, most or 0) > MAX_REPEAT:
            raise self._error(f"something is repeated more than {MAX_REPEAT} times")
        if most is not None and most < least:
            raise self._error("a repetition ends below where it begins")
        return Repeat(part, least, most)

    def _literal(self) -> Node:
        self._at += 1
        parts: list[Node] = []
        while self._peek() != '"':
            code = self._char()
            parts.append(Chars(((code, code),)))
        self._at += 1
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def _class(self) -> Chars:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            low = high = self._char()
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._char()
            if high < low:
                raise self._error("a range of characters ends below where it begins")
            ranges.append((low, high))
        self._at += 1
        if not ranges and not negated:
            raise self._error("a set of characters is empty")
        return Chars(tuple(ranges), negated)

    def _char(self) -> int:
        c = self._peek()
        if c in ("", "\n", "\r"):
            raise self._error("a text or a set of characters is not closed")
        self._at += 1
        if c != "\\":
            return ord(c)
        kind = self._peek()
        self._at += 1
        if kind in _ESCAPES:
            return ord(_ESCAPES[kind])
        width = _HEX.get(kind, 0)
        digits = self._source[self._at : self._at + width]
        if not width or not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits) != width:
            raise self._error(f"\\{kind} is not an escape")
        self._at += width
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"\\{kind}{digits} is not a character")
        return code

    def _name(self) -> str:
        match = _NAME.match(self._source, self._at)
        if match is None:
            raise self._error("a rule's name is missing")
        self._at = match.end()
        return match.group()

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _skip(self, *, lines: bool = False) -> None:
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self._source, self._at)
        self._at = match.end() if match else self._at

    def _error(self, words: str) -> InvalidConstraint:
        line = self._source.count("\n", 0, self._at) + 1
        return InvalidConstraint(
            f"The grammar is not valid GBNF, line {line}: {words}.", hint="See llama.cpp's GBNF guide."
        )


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Seq(parts):
            return parts
        case Alt(options):
            return options
        case Repeat(part):
            return (part,)
        case _:
            return ()


def _refs(node: Node) -> Iterator[str]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Ref):
            yield node.name
        waiting.extend(_children(node))


def _reachable(rules: Mapping[str, Node]) -> list[str]:
    """Rules that root leads to, root first."""
    order = {"root": None}
    waiting = ["root"]
    while waiting:
        for name in _refs(rules[waiting.pop()]):
            if name not in rules:
                raise InvalidConstraint(
                    f"The grammar has no rule {name[:40]!r}.", hint="Every name needs a rule NAME ::= …"
                )
            if name not in order:
                order[name] = None
                waiting.append(name)
    return list(order)


def _is_recursive(rules: Mapping[str, Node], order: list[str]) -> bool:
    """Some rule leads back to itself: not all rules can be taken away one by one once all they refer to are gone."""
    needs = {name: set(_refs(rules[name])) for name in order}
    users: dict[str, list[str]] = {name: [] for name in order}
    for name, needed in needs.items():
        for other in needed:
            users[other].append(name)
    free = [name for name, needed in needs.items() if not needed]
    gone = 0
    while free:
        gone += 1
        done = free.pop()
        for name in users[done]:
            needs[name].discard(done)
            if not needs[name]:
                free.append(name)
    return gone < len(order)


def _size(node: Node) -> int:
    """Elements with bounded repetitions written out; references count as one."""
    if isinstance(node, Repeat):
        return 1 + _size(node.part) * max(1, node.least, node.most or 0)
    return 1 + sum(_size(child) for child in _children(node))


def _lark(node: Node, names: Mapping[str, str]) -> str:
    match node:
        case Chars(ranges, negated):
            return _regex(ranges, negated)
        case Ref(name):
            return names[name]
        case Seq(parts):
            return "(" + " ".join(_lark(part, names) for part in parts) + ")" if parts else '""'
        case Alt(options):
            return "(" + " | ".join(_lark(option, names) for option in options) + ")"
        case Repeat(part, least, most):
            return f"({_lark(part, names)}){{{least},{'' if most is None else most}}}"


def _regex(ranges: tuple[tuple[int, int], ...], negated: bool) -> str:
    if not ranges:
        return "/(?s:.)/"
    body = "".join(f"\\x{{{low:x}}}" if low == high else f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges)
    return f"/[{'^' if negated else ''}{body}]/"
