"""What may stand after a mark that opens tool calls, one class for each way of writing them.

A region takes characters until it is `over`. Where it turns out to hold no call, `rejected` has its whole text, which
was then words after all; where text follows a call without a mark between, `rest` has it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Protocol

from fireside_engine.core.answers.json_call import CallObject, Status, Value
from fireside_engine.core.answers.parts import Collector
from fireside_engine.core.answers.watch import Watch
from fireside_engine.core.answers.xml_call import XML_OPENER, Tools, XmlCall


class Region(Protocol):
    over: bool
    rejected: str
    rest: str

    def push(self, char: str) -> None: ...

    def finish(self) -> None:
        """No more comes: decide what is open."""


class JsonRegion:
    """JSON objects, alone, in a row or in an array, up to the closing mark if there is one.

    `<function=…>` instead of an object begins a call in Qwen3-Coder's way.
    """

    def __init__(self, sink: Collector, opener: str, closer: str, tools: Tools, known: Collection[str] | None) -> None:
        self.over = False
        self.rejected = ""
        self.rest = ""
        self._sink = sink
        self._closer = closer
        self._tools = tools
        self._known = known
        self._raw = opener
        """All text so far while there was no call yet."""
        self._object: CallObject | None = None
        self._xml: XmlCall | None = None
        self._word = ""
        self._in_array = False
        self._n_calls = 0

    def push(self, char: str) -> None:
        if self._xml is not None:
            self._xml.push(char)
            if self._xml.over:
                self._xml = None
                self._n_calls += 1
            return
        if self._n_calls == 0:
            self._raw += char
        if self._object is not None:
            self._in_object(char)
        else:
            self._between(char)

    def _in_object(self, char: str) -> None:
        assert self._object is not None  # noqa: S101
        self._object.push(char)
        match self._object.status:
            case Status.NOT if self._n_calls == 0:
                self._reject()
            case Status.NOT:
                self._leave(self._object.raw)
            case Status.DONE:
                self._object = None
                self._n_calls += 1

    def _between(self, char: str) -> None:
        word = self._word + char
        if self._closer and self._closer.startswith(word):
            self._word = word if word != self._closer else ""
            self.over = word == self._closer
        elif XML_OPENER.startswith(word) and self._closer:
            self._word = word
            if word == XML_OPENER:
                self._word = ""
                self._xml = XmlCall(self._sink, self._tools)
        elif self._word:
            self._stop(word)
        elif char == "{":
            self._object = CallObject(self._sink, self._known)
            self._object.push(char)
        elif char == "[" and not self._in_array and self._n_calls == 0:
            self._in_array = True
        elif char == "]" and self._in_array and self._n_calls > 0:
            self._in_array = False
            self.over = not self._closer
        elif not (char.isspace() or (char in ",;" and self._n_calls > 0)):
            self._stop(char)

    def _stop(self, text: str) -> None:
        if self._n_calls == 0:
            self._reject()
        else:
            self._leave(text)

    def _reject(self) -> None:
        self.rejected = self._raw
        self.over = True

    def _leave(self, text: str) -> None:
        self.rest = text
        self.over = True

    def finish(self) -> None:
        if self._xml is not None:
            self._xml.finish()
        elif self._object is not None and self._object.status is Status.CALL:
            return
        elif self._n_calls == 0:
            self._reject()
        elif self._object is not None:
            self._leave(self._object.raw)


class NamedRegion:
    """Mistral's: an array of objects, or `NAME[ARGS]{…}`, in older models also `NAME{…}`. There is no closing mark."""

    def __init__(self, sink: Collector, opener: str, tools: Tools) -> None:
        self.over = False
        self.rejected = ""
        self.rest = ""
        self._sink = sink
        self._opener = opener
        self._array: JsonRegion | None = None
        self._tools = tools
        self._name = ""
        self._value: Value | None = None

    def push(self, char: str) -> None:
        if self._array is not None:
            self._array.push(char)
            self.over, self.rejected, self.rest = self._array.over, self._array.rejected, self._array.rest
        elif self._value is not None:
            self._sink.arguments(char)
            self.over, _ = self._value.push(char)
        elif char in "[{" and not self._name.strip():
            self._array = JsonRegion(self._sink, self._opener + self._name, "", self._tools, None)
            self.push(char)
        elif char == "{":
            self._sink.call(self._name.split("[CALL_ID]")[0].removesuffix("[ARGS]").split("[ARGS]")[0].strip())
            self._value = Value(char)
            self._sink.arguments(char)
        else:
            self._name += char
            if len(self._name) > _LONGEST_NAME:
                self.rejected = self._opener + self._name
                self.over = True

    def finish(self) -> None:
        if self._array is not None:
            self._array.finish()
            self.rejected, self.rest = self._array.rejected, self._array.rest
        elif self._value is None:
            self.rejected = self._opener + self._name


_LONGEST_NAME = 256


class GemmaRegion:
    """`call:NAME{key:value,…}` where texts stand between quotes of their own, up to the closing mark."""

    def __init__(self, sink: Collector, opener: str, closer: str, quote: str) -> None:
        self.over = False
        self.rejected = ""
        self.rest = ""
        self._sink = sink
        self._opener = opener
        self._watch = Watch([closer])
        self._quote = quote
        self._text = ""

    def push(self, char: str) -> None:
        released, mark = self._watch.push(char)
        self._text += released
        if mark:
            self._decide()

    def finish(self) -> None:
        self._text += self._watch.flush()
        self._decide()

    def _decide(self) -> None:
        self.over = True
        head, brace, body = self._text.strip().partition("{")
        name = head.removeprefix("call:").strip()
        if not (brace and name and head.startswith("call:")):
            self.rejected = self._opener + self._text
            return
        self._sink.call(name)
        self._sink.arguments(json.dumps(_Loose(body, self._quote).object(), ensure_ascii=False))


class _Loose:
    """Reads an object whose keys have no quotes and whose strings have quotes of their own; never fails."""

    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote
        self._at = 0

    def object(self) -> dict[str, Any]:
        """From behind the opening brace."""
        found: dict[str, Any] = {}
        while self._at < len(self._text) and not self._take("}"):
            key = self._until(":}")
            if not self._take(":"):
                continue
            found[key.strip().strip(",").strip()] = self._value()
            self._take(",")
        return found

    def _value(self) -> Any:
        self._skip()
        if self._take(self._quote):
            end = self._text.find(self._quote, self._at)
            end = len(self._text) if end < 0 else end
            text, self._at = self._text[self._at : end], end + len(self._quote)
            return text
        if self._take("{"):
            return self.object()
        if self._take("["):
            items = []
            while self._at < len(self._text) and not self._take("]"):
                before = self._at
                items.append(self._value())
                self._take(",")
                if self._at == before:
                    break
            return items
        word = self._until(",}]").strip()
        try:
            return json.loads(word)
        except ValueError:
            return word

    def _until(self, ends: str) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _take(self, text: str) -> bool:
        self._skip()
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False


class DeepseekRegion:
    """`function<sep>NAME` and fenced JSON, or `NAME<sep>{…}`, each between marks, up to a mark that ends all calls."""

    BEGIN, SEPARATOR, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
    OPENER, CLOSER = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"

    def __init__(self, sink: Collector) -> None:
        self.over = False
        self.rejected = ""
        self.rest = ""
        self._sink = sink
        self._watch = Watch([self.BEGIN, self.SEPARATOR, self.END, self.CLOSER])
        self._head = ""
        self._body = ""
        self._value: Value | None = None
        self._state = "between"
        self._n_calls = 0

    def push(self, char: str) -> None:
        released, mark = self._watch.push(char)
        for each in released:
            self._text(each)
        if mark == self.BEGIN:
            self._state, self._head = "head", ""
        elif mark == self.SEPARATOR:
            self._state, self._body = "body", ""
            if self._head.strip() != "function":
                self._call(self._head)
        elif mark == self.END:
            self._state, self._value = "between", None
        elif mark == self.CLOSER:
            self.over = True

    def _text(self, char: str) -> None:
        if self._state == "head":
            self._head += char
        elif self._state == "body":
            if char == "\n" and self._body.strip():
                self._call(self._body)
            self._body += char
        elif self._state == "arguments":
            if self._value is None and char == "{":
                self._value = Value(char)
                self._sink.arguments(char)
            elif self._value is not None:
                self._sink.arguments(char)
                ended, _ = self._value.push(char)
                if ended:
                    self._state = "between"

    def _call(self, name: str) -> None:
        self._sink.call(name.strip())
        self._n_calls += 1
        self._state, self._value = "arguments", None

    def finish(self) -> None:
        if self._n_calls == 0:
            self.rejected = self.OPENER + self._head + self._body + self._watch.flush()
