"""A call written as a JSON object: `{"name": …, "arguments": {…}}`, in any order and with other members between."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from enum import Enum

from fireside_engine.core.answers.parts import Collector

_NAME = ("name", "tool_name", "tool")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_WRAPPER = "function"
_WHITE = " \t\r\n"


class Status(Enum):
    OPEN = "open"
    """It may still turn out to be no call."""
    CALL = "call"
    """It is one, and goes on."""
    DONE = "done"
    NOT = "not"
    """It is none."""


class Value:
    """Finds the end of one JSON value; its first character decides the kind."""

    def __init__(self, first: str) -> None:
        self.text = first
        self.is_string = first == '"'
        self.is_nested = first in "{["
        self._depth = 1 if self.is_nested else 0
        self._in_string = self.is_string
        self._escaped = False

    def push(self, char: str) -> tuple[bool, bool]:
        """(ended, `char` belongs to it)."""
        if not self.is_string and not self.is_nested:
            if char in ",}]" or char in _WHITE:
                return True, False
            self.text += char
            return False, True
        self.text += char
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
                return self.is_string, True
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
        return self.is_nested and self._depth == 0, True


class CallObject:
    """Takes the characters of one object, from its opening brace on."""

    def __init__(self, sink: Collector, known: Collection[str] | None) -> None:
        """known: names that make it a call; None takes every name."""
        self.status = Status.OPEN
        self.raw = ""
        self._sink = sink
        self._known = known
        self._wrappers = 0
        self._key = ""
        self._value: Value | None = None
        self._waiting = ""
        """Arguments that came before the name."""
        self._has_arguments = False
        self._state: Callable[[str], None] = self._opening

    def push(self, char: str) -> None:
        self.raw += char
        self._state(char)

    def _fail(self) -> None:
        self.status = Status.NOT if self.status is Status.OPEN else Status.DONE

    def _opening(self, char: str) -> None:
        self._state = self._before_key
        if char != "{":
            self._fail()

    def _before_key(self, char: str) -> None:
        if char == '"':
            self._value = Value(char)
            self._state = self._in_key
        elif char == "}":
            self._close()
        elif char not in _WHITE:
            self._fail()

    def _in_key(self, char: str) -> None:
        assert self._value is not None  # noqa: S101
        ended, _ = self._value.push(char)
        if ended:
            self._key = _string(self._value.text)
            self._state = self._before_colon

    def _before_colon(self, char: str) -> None:
        if char == ":":
            self._state = self._before_value
        elif char not in _WHITE:
            self._fail()

    def _before_value(self, char: str) -> None:
        if char in _WHITE:
            return
        if self._key == _WRAPPER and char == "{":
            self._wrappers += 1
            self._state = self._before_key
        elif char in ",}]:":
            self._fail()
        else:
            self._value = Value(char)
            self._state = self._in_value
            if self._is_arguments and self._value.is_nested:
                self._argue(char)

    @property
    def _is_arguments(self) -> bool:
        return self._key in _ARGUMENTS

    def _in_value(self, char: str) -> None:
        value = self._value
        assert value is not None  # noqa: S101
        ended, belongs = value.push(char)
        if self._is_arguments and value.is_nested:
            self._argue(char)
        if not ended:
            return
        self._state = self._after_value
        if self._is_arguments and not value.is_nested:
            text = _string(value.text) if value.is_string else value.text
            self._argue("{}" if text.strip() in ("", "null") else text)
        elif value.is_string and (self._key in _NAME or self._key == _WRAPPER):
            self._call(_string(value.text))
        if not belongs and self.status is not Status.NOT:
            self._after_value(char)

    def _after_value(self, char: str) -> None:
        if char == ",":
            self._state = self._before_key
        elif char == "}":
            self._close()
        elif char not in _WHITE:
            self._fail()

    def _close(self) -> None:
        if self._wrappers:
            self._wrappers -= 1
            self._state = self._after_value
            return
        if self.status is Status.OPEN:
            self.status = Status.NOT
            return
        if not self._has_arguments:
            self._sink.arguments("{}")
        self.status = Status.DONE

    def _call(self, name: str) -> None:
        if self.status is not Status.OPEN:
            return
        if not name or (self._known is not None and name not in self._known):
            self.status = Status.NOT
            return
        self.status = Status.CALL
        self._sink.call(name)
        self._sink.arguments(self._waiting)

    def _argue(self, text: str) -> None:
        self._has_arguments = True
        if self.status is Status.OPEN:
            self._waiting += text
        else:
            self._sink.arguments(text)


def _string(literal: str) -> str:
    try:
        value = json.loads(literal, strict=False)
    except ValueError:
        return literal[1:-1]
    return value if isinstance(value, str) else literal
