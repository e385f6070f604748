"""The parts of an answer, and how they are collected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Text:
    """Words for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking before the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The model calls a tool. Calls are counted from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the arguments of a call: JSON text, complete when the next call or the end comes."""

    index: int
    text: str


Part = Text | Reasoning | CallStart | CallArguments


class AnswerParser(Protocol):
    """Feed text as it comes; nothing follows `finish`."""

    def push(self, text: str) -> list[Part]: ...

    def finish(self) -> list[Part]: ...


class Collector:
    """Joins neighbours of one kind, and drops white space around thinking and calls.

    patient: white space waits until it is known what follows it. Only where calls are possible, for it delays words.
    """

    def __init__(self, *, patient: bool = True) -> None:
        self.n_calls = 0
        self._patient = patient
        self._parts: list[Part] = []
        self._space = ""
        self._strip = False
        """White space that comes now follows thinking or a call, and is dropped."""

    def take(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts

    def text(self, char: str) -> None:
        self._spaced(char, Text)

    def reasoning(self, char: str) -> None:
        self._spaced(char, Reasoning)

    def border(self) -> None:
        """Something of another kind follows: white space around it is no part of either."""
        self._space = ""
        self._strip = True

    def release(self) -> None:
        """The text is over, and its last white space is part of it."""
        if self._space:
            self._append(Text(self._space))
        self._space = ""

    def call(self, name: str) -> None:
        self.border()
        self._append(CallStart(self.n_calls, name))
        self.n_calls += 1

    def arguments(self, text: str) -> None:
        """Of the latest call."""
        if text:
            self._append(CallArguments(self.n_calls - 1, text))

    def _spaced(self, char: str, kind: type[Text | Reasoning]) -> None:
        if char.isspace() and (self._strip or self._patient or kind is Reasoning):
            if not self._strip:
                self._space += char
            return
        self._append(kind(self._space + char))
        self._space = ""
        self._strip = False

    def _append(self, part: Part) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(part, Text) and isinstance(last, Text):
            self._parts[-1] = Text(last.text + part.text)
        elif isinstance(part, Reasoning) and isinstance(last, Reasoning):
            self._parts[-1] = Reasoning(last.text + part.text)
        elif isinstance(part, CallArguments) and isinstance(last, CallArguments) and part.index == last.index:
            self._parts[-1] = CallArguments(part.index, last.text + part.text)
        else:
            self._parts.append(part)


def joined(parts: list[Part]) -> list[Part]:
    """The same parts as if they had come at once."""
    collector = Collector()
    for part in parts:
        collector._append(part)
    return collector.take()
