"""gpt-oss writes messages with headers: `<|channel|>analysis<|message|>…<|end|>`, then the answer in channel `final`.

A header with `to=functions.NAME` makes the message the arguments of a call. The prompt ends with
`<|start|>assistant`, so an answer begins inside a header. Source: OpenAI's harmony format guide.
"""

from __future__ import annotations

import re

from fireside_engine.core.answers.parts import Collector, Part
from fireside_engine.core.answers.watch import Watch

_BEGINS_HEADER = ("<|start|>", "<|channel|>")
_ENDS_MESSAGE = ("<|end|>", "<|call|>", "<|return|>")
_MESSAGE, _CONSTRAIN = "<|message|>", "<|constrain|>"
_RECIPIENT = re.compile(r"to=functions[.:]([\w.-]+)")


class HarmonyParser:
    def __init__(self, *, thinks: bool) -> None:
        self._sink = Collector()
        self._thinks = thinks
        self._watch = Watch([*_BEGINS_HEADER, *_ENDS_MESSAGE, _MESSAGE, _CONSTRAIN])
        self._header = ""
        self._in_header = True
        self._seen_mark = False
        self._kind = "text"
        self._n_argument = 0

    def push(self, text: str) -> list[Part]:
        for char in text:
            released, mark = self._watch.push(char)
            for each in released:
                self._char(each)
            if mark:
                self._mark(mark)
        return self._sink.take()

    def finish(self) -> list[Part]:
        for each in self._watch.flush():
            self._char(each)
        if self._in_header and not self._seen_mark:
            # A model that was led out of its format, by a constraint or a template of its own.
            for each in self._header:
                self._sink.text(each)
        self._end_message()
        if self._kind == "text":
            self._sink.release()
        return self._sink.take()

    def _char(self, char: str) -> None:
        if self._in_header:
            self._header += char
        elif self._kind == "call":
            self._n_argument += not char.isspace()
            self._sink.arguments(char)
        elif self._kind == "reasoning" and self._thinks:
            self._sink.reasoning(char)
        else:
            self._sink.text(char)

    def _mark(self, mark: str) -> None:
        self._seen_mark = True
        if mark in _BEGINS_HEADER:
            if not self._in_header or mark == "<|start|>":
                self._end_message()
                self._header = ""
            self._in_header = True
            self._header += f" {mark} "
        elif mark == _MESSAGE:
            self._begin_message()
        elif mark == _CONSTRAIN:
            self._header += " "
        else:
            self._end_message()
            self._in_header, self._header = True, ""

    def _begin_message(self) -> None:
        header, self._header = self._header, ""
        self._in_header = False
        if recipient := _RECIPIENT.search(header):
            self._kind, self._n_argument = "call", 0
            self._sink.call(recipient.group(1))
            return
        kind = "reasoning" if "analysis" in header.split() else "text"
        if kind != self._kind:
            self._sink.border()
        self._kind = kind

    def _end_message(self) -> None:
        if self._kind == "call" and not self._in_header and self._n_argument == 0:
            self._sink.arguments("{}")
        if not self._in_header and self._kind != "text":
            self._sink.border()
