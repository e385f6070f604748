"""The state machine of an answer: thinking first, then words, with calls of tools among them.

It works character by character (stretches without a mark are only a short cut), so the parts do not depend on how the
text was cut. Marks of calls count only where the request has tools, and an object that stands alone is a call only if
it names one of them: many small models forget the marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fireside_engine.core.answers.formats import ChatFormat
from fireside_engine.core.answers.harmony import HarmonyParser
from fireside_engine.core.answers.parts import AnswerParser, Collector, Part
from fireside_engine.core.answers.regions import DeepseekRegion, GemmaRegion, JsonRegion, NamedRegion, Region
from fireside_engine.core.answers.watch import Watch
from fireside_engine.core.answers.xml_call import XML_OPENER, Tools, XmlCall

_FENCE = re.compile(r"`{1,3}|```[a-z_]*\s*")
_FENCED = re.compile(r"```[a-z_]*\s*$")
_TAGS = (("<tool_call>", "</tool_call>"), ("<function_call>", "</function_call>"), ("<tools>", "</tools>"))


def answer_parser(form: ChatFormat, tools: Tools, *, thinks: bool = True, opening: str = "") -> AnswerParser:
    """thinks: thinking is told apart from words.

    opening: what of the answer stands in the prompt already; whoever calls pushes it before the first text.
    """
    if form.kind == "harmony" and not opening.startswith(_TAGS[0][0]):
        return HarmonyParser(thinks=thinks)
    return MarkedParser(form, tools, thinks=thinks)


class MarkedParser:
    """For all families whose words need no marks."""

    def __init__(self, form: ChatFormat, tools: Tools, *, thinks: bool) -> None:
        self._sink = Collector(patient=bool(tools))
        self._tools = tools
        self._think = dict(form.think) if thinks else {}
        self._openers = _openers(form, tools, self._sink)
        self._content = Watch(self._openers)
        self._thought = Watch([])
        self._head = ""
        self._region: Region | None = None
        self._fence = ""
        """What a call inside a code block leaves to be dropped."""
        self._state: Callable[[str], None] = self._in_start

    def push(self, text: str) -> list[Part]:
        at = 0
        while at < len(text):
            end = at
            if self._state == self._in_content:
                end = self._content.skip(text, at)
                self._sink.text(text[at:end])
            elif self._state == self._in_thought:
                end = self._thought.skip(text, at)
                self._sink.reasoning(text[at:end])
            if end == at:
                self._state(text[at])
                end += 1
            at = end
        return self._sink.take()

    def finish(self) -> list[Part]:
        if self._region is not None:
            self._region.finish()
            rejected, rest, self._region = self._region.rejected, self._region.rest, None
            self._head = self._head_before + rejected if rejected else rest
        if self._state == self._in_thought:
            self._sink.reasoning(self._thought.flush())
            self._sink.border()
        head, self._head = self._head, ""
        self._sink.text(head + self._content.flush())
        self._sink.release()
        return self._sink.take()

    # --- before the first word

    _head_before = ""

    def _in_start(self, char: str) -> None:
        self._head += char
        head = self._head.lstrip()
        if not head:
            return
        for opener, closer in self._think.items():
            if head == opener:
                self._head = ""
                self._sink.border()
                self._thought = Watch([closer])
                self._state = self._in_thought
                return
        if any(opener.startswith(head) for opener in self._think):
            return
        if self._tools and head[-1] in "{[" and (len(head) == 1 or _FENCED.fullmatch(head[:-1])):
            self._fence = head[:-1]
            self._begin_region(JsonRegion(self._sink, "", "", self._tools, self._tools), self._head[:-1])
            self._in_region(char)
            return
        if self._tools and _FENCE.fullmatch(head):
            return
        self._refeed()

    def _refeed(self) -> None:
        """It begins with words after all."""
        text, self._head = self._head, ""
        self._state = self._in_content
        for char in text:
            self._state(char)

    # --- thinking

    def _in_thought(self, char: str) -> None:
        released, mark = self._thought.push(char)
        self._sink.reasoning(released)
        if mark:
            self._sink.border()
            self._state = self._in_start

    # --- words

    def _in_content(self, char: str) -> None:
        released, mark = self._content.push(char)
        self._sink.text(released)
        if mark:
            self._begin_region(self._openers[mark](), "")

    # --- calls

    def _begin_region(self, region: Region, before: str) -> None:
        self._region = region
        self._head = ""
        self._head_before = before
        self._state = self._in_region

    def _in_region(self, char: str) -> None:
        region = self._region
        assert region is not None  # noqa: S101
        region.push(char)
        if not region.over:
            return
        self._region = None
        fence, self._fence = self._fence, ""
        if region.rejected:
            text = self._head_before + region.rejected
            self._state = self._in_content
            # Its first mark was looked at already; as text it must not be found again.
            for index, each in enumerate(text):
                if index < 1:
                    self._sink.text(each)
                else:
                    self._state(each)
            return
        self._state = self._in_fence if fence else self._in_start
        for each in region.rest:
            self._state(each)

    def _in_fence(self, char: str) -> None:
        """The end of the code block that held a call says nothing."""
        self._head += char
        head = self._head.strip()
        if head == "```":
            self._head = ""
            self._state = self._in_start
        elif not "```".startswith(head):
            self._refeed()


def _openers(form: ChatFormat, tools: Tools, sink: Collector) -> dict[str, Callable[[], Region]]:
    if not tools:
        return {}
    openers: dict[str, Callable[[], Region]] = {}
    for opener, closer in _TAGS:
        openers[opener] = _json_region(sink, opener, closer, tools)
    openers[XML_OPENER] = lambda: _Alone(XmlCall(sink, tools))
    if form.kind == "llama3":
        openers["<|python_tag|>"] = _json_region(sink, "<|python_tag|>", "", tools)
    if form.kind == "mistral":
        openers["[TOOL_CALLS]"] = lambda: NamedRegion(sink, "[TOOL_CALLS]", tools)
    if form.kind == "gemma":
        opener, closer, quote = form.call
        openers[opener] = lambda: GemmaRegion(sink, opener, closer, quote)
    if form.kind == "deepseek":
        openers[DeepseekRegion.OPENER] = lambda: DeepseekRegion(sink)
    return openers


def _json_region(sink: Collector, opener: str, closer: str, tools: Tools) -> Callable[[], Region]:
    return lambda: JsonRegion(sink, opener, closer, tools, None)


class _Alone:
    """`<function=…>` without anything around it."""

    def __init__(self, call: XmlCall) -> None:
        self.over = False
        self.rejected = ""
        self.rest = ""
        self._call = call

    def push(self, char: str) -> None:
        self._call.push(char)
        self.over = self._call.over

    def finish(self) -> None:
        self._call.finish()
