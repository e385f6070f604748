"""The parts of an answer, and how they are collected."""

from __future__ import annotations

from collections.abc import Sequence
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
        self._kind: type[Text | Reasoning | CallArguments] = Text
        self._run: list[str] = []
        """Pieces of one kind that are not yet a part."""
        self._space = ""
        self._strip = False
        """White space that comes now follows thinking or a call, and is dropped."""

    def take(self) -> list[Part]:
        self._close()
        parts, self._parts = self._parts, []
        return parts

    def text(self, text: str) -> None:
        self._spaced(text, Text)

    def reasoning(self, text: str) -> None:
        self._spaced(text, Reasoning)

    def border(self) -> None:
        """Something of another kind follows: white space around it is no part of either."""
        self._space = ""
        self._strip = True

    def release(self) -> None:
        """The text is over, and its last white space is part of it."""
        self._add(Text, self._space)
        self._space = ""

    def call(self, name: str) -> None:
        self.border()
        self._close()
        self._parts.append(CallStart(self.n_calls, name))
        self.n_calls += 1

    def arguments(self, text: str) -> None:
        """Of the latest call."""
        self._add(CallArguments, text)

    def _spaced(self, text: str, kind: type[Text | Reasoning]) -> None:
        if self._strip:
            text = text.lstrip()
        body = text.rstrip() if self._patient or kind is Reasoning else text
        if body:
            self._add(kind, self._space + body)
            self._space = ""
            self._strip = False
        self._space += text[len(body) :]

    def _add(self, kind: type[Text | Reasoning | CallArguments], text: str) -> None:
        if not text:
            return
        if kind is not self._kind:
            self._close()
            self._kind = kind
        self._run.append(text)

    def _close(self) -> None:
        text = "".join(self._run)
        self._run.clear()
        if not text:
            return
        if self._kind is CallArguments:
            self._parts.append(CallArguments(self.n_calls - 1, text))
        else:
            self._parts.append(Text(text) if self._kind is Text else Reasoning(text))


def joined(parts: Sequence[Part]) -> list[Part]:
    """The same parts as if they had come at once."""
    result: list[Part] = []
    for part in parts:
        match result[-1] if result else None, part:
            case (Text(before), Text(text)):
                result[-1] = Text(before + text)
            case (Reasoning(before), Reasoning(text)):
                result[-1] = Reasoning(before + text)
            case (CallArguments(first, before), CallArguments(index, text)) if first == index:
                result[-1] = CallArguments(index, before + text)
            case _:
                result.append(part)
    return result
