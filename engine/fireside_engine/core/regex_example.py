"""A short string that a regular expression matches: a hint for finding the end of a constrained answer.

Only a hint. Whoever uses it tries it on the compiled grammar, so a wrong example costs time and nothing else; what this
small reader does not know is answered with None or with a guess.
"""

from __future__ import annotations

FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "date": "2000-01-01",
    "duration": "P1D",
    "email": "a@b.cd",
    "hostname": "a",
    "ipv4": "0.0.0.0",  # noqa: S104  (a text, not an address to listen on)
    "ipv6": "::",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "a:b",
}
"""A short valid value for each string format of JSON schema that the compiler knows."""

_MAX_LENGTH = 4096
_MAX_DEPTH = 50
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "f": "\f",
    "v": "\v",
    "d": "0",
    "w": "a",
    "s": " ",
    "D": "a",
    "W": "-",
    "S": "a",
}
_EMPTY = frozenset("bBAzZG")
_OTHERS = "a0 -A_.,:/@!\n"
"""Tried in this order where a class names what it does not allow."""


def example(pattern: str) -> str | None:
    """A string, short where that is easy, that `pattern` probably matches; None if it cannot be read."""
    reader = _Reader(pattern)
    try:
        text = reader.alternatives(0)
    except (IndexError, ValueError, OverflowError):
        return None
    return text if reader.at_end and len(text) <= _MAX_LENGTH else None


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._pattern)

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _until(self, end: str) -> str:
        stop = self._pattern.index(end, self._at)
        text = self._pattern[self._at : stop]
        self._at = stop + len(end)
        return text

    def alternatives(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        offers = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            offers.append(self._sequence(depth))
        return min(offers, key=len)

    def _sequence(self, depth: int) -> str:
        parts: list[str] = []
        while not self.at_end and self._peek() not in "|)":
            parts.append(self._quantified(self._atom(depth)))
            if sum(map(len, parts)) > _MAX_LENGTH:
                raise ValueError("too long")
        return "".join(parts)

    def _quantified(self, atom: str) -> str:
        while self._peek() and self._peek() in "*+?{":
            mark = self._peek()
            if mark == "{":
                stop = self._pattern.find("}", self._at)
                bounds = self._pattern[self._at + 1 : stop].split(",")
                if stop < 0 or not any(bounds) or not all(bound.isdigit() for bound in bounds if bound):
                    return atom
                self._at = stop + 1
                atom *= min(int(bounds[0] or 0), _MAX_LENGTH)
            else:
                self._at += 1
                atom = atom if mark == "+" else ""
            if self._peek() and self._peek() in "?+":
                self._at += 1  # lazy or possessive: the same strings match
        return atom

    def _atom(self, depth: int) -> str:
        c = self._next()
        if c == "(":
            if self._peek() == "?" and self._group_is_only_flags():
                return ""
            text = self.alternatives(depth + 1)
            if self._next() != ")":
                raise ValueError("unbalanced")
            return text
        if c == "[":
            return self._class()
        if c == "\\":
            return self._escape()
        if c == ".":
            return "a"
        return "" if c in "^$" else c

    def _group_is_only_flags(self) -> bool:
        """Read what follows `(?`; the group itself follows unless it was `(?flags)`."""
        self._at += 1
        if self._peek() == "P":
            self._at += 1
        if self._peek() == "<":
            self._until(">")
            return False
        while (c := self._next()) not in ":)":
            if not (c.isalpha() or c == "-"):
                raise ValueError("unknown group")
        return c == ")"

    def _escape(self) -> str:
        c = self._next()
        if c in "xuU":
            if self._peek() == "{":
                self._at += 1
                return chr(int(self._until("}"), 16))
            width = {"x": 2, "u": 4, "U": 8}[c]
            digits = self._pattern[self._at : self._at + width]
            self._at += width
            return chr(int(digits, 16))
        if c in "pP":
            name = self._next()
            if name == "{":
                name = self._until("}")
            if c == "P":
                return "-"
            return {"N": "0", "Nd": "0", "Lu": "A", "P": ".", "Z": " "}.get(name, "a")
        return "" if c in _EMPTY else _ESCAPES.get(c, c)

    def _class(self) -> str:
        """One member of a class; for a negated class the first common character that is no member."""
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            c = self._next()
            if c == "[":
                if self._peek() == ":":
                    name = self._until(":]")
                    low = {":digit": "0", ":upper": "A", ":space": " ", ":punct": "."}.get(name, "a")
                else:
                    low = self._class()
            else:
                low = self._escape() if c == "\\" else c
            high = low
            if self._peek() == "-" and self._pattern[self._at + 1] != "]":
                self._at += 1
                c = self._next()
                high = self._escape() if c == "\\" else c
            ranges.append((low, high))
        self._at += 1
        if not negated:
            return ranges[0][0]
        return next(c for c in _OTHERS if not any(low <= c <= high for low, high in ranges))
