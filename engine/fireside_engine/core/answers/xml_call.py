"""A call written with tags: Qwen3-Coder's `<function=NAME><parameter=KEY>…`, and Llama 3.1's with JSON inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fireside_engine.core.answers.json_call import Value
from fireside_engine.core.answers.parts import Collector

Tools = Mapping[str, Mapping[str, Any]]
"""Name of a tool to the JSON schema of its arguments."""

XML_OPENER = "<function="


class XmlCall:
    """`<function=NAME>` with `<parameter=KEY>` inside, or with a JSON object; the opening mark was read."""

    def __init__(self, sink: Collector, tools: Tools) -> None:
        self.over = False
        self._sink = sink
        self._tools = tools
        self._name: str | None = None
        self._buffer = ""
        self._key: str | None = None
        self._n = 0
        self._json: Value | None = None
        self._schema: Mapping[str, Any] = {}

    def push(self, char: str) -> None:
        if self._json is not None:
            self._in_json(char)
            return
        self._buffer += char
        if self._name is None:
            if char == ">":
                self._begin(self._buffer[:-1].strip().strip("\"'"))
        elif self._key is not None:
            if self._buffer.endswith("</parameter>"):
                self._member(self._key, self._buffer.removesuffix("</parameter>"))
                self._key, self._buffer = None, ""
        elif char == "{" and self._n == 0 and not self._buffer[:-1].strip():
            self._json = Value(char)
            self._sink.arguments(char)
        elif self._buffer.endswith("</function>"):
            self._end()
        elif char == ">" and "<parameter=" in self._buffer:
            self._key = self._buffer[:-1].rpartition("<parameter=")[2].strip().strip("\"'")
            self._buffer = ""

    def _begin(self, name: str) -> None:
        self._name, self._buffer = name, ""
        self._schema = self._tools.get(name, {}).get("properties") or {}
        self._sink.call(name)

    def _in_json(self, char: str) -> None:
        assert self._json is not None  # noqa: S101
        if self._n:
            # The object is complete; only the closing mark is waited for.
            self._buffer += char
            self.over = self._buffer.endswith("</function>")
            return
        ended, _ = self._json.push(char)
        self._sink.arguments(char)
        self._n = int(ended)

    def _member(self, key: str, text: str) -> None:
        text = text.removeprefix("\n").removesuffix("\n")
        member = f"{json.dumps(key, ensure_ascii=False)}: {_typed(text, self._schema.get(key))}"
        self._sink.arguments(("{" if self._n == 0 else ", ") + member)
        self._n += 1

    def _end(self) -> None:
        self._sink.arguments("}" if self._n else "{}")
        self.over = True

    def finish(self) -> None:
        """The answer was cut off here, or the model forgot the end; what came is closed, so that it can be read."""
        if self._name is not None and self._json is None and not self.over:
            self._end()


def _typed(text: str, schema: object) -> str:
    """A parameter written as plain text, as the JSON that its schema asks for."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    if kind is not None and kinds != ["string"]:
        try:
            value = json.loads(text)
        except ValueError:
            if "boolean" in kinds and text.strip().lower() in ("true", "false"):
                return text.strip().lower()
        else:
            if not isinstance(value, str):
                return json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False)
