"""Control tokens inside what people write stay text.

A chat template puts messages and control tokens into one string, and tokenizing that string reads every `<|im_end|>`
as the token, whoever wrote it. So before rendering, each control token's text inside messages, tool definitions and
template arguments becomes a placeholder of private-use characters that nobody can guess, and after rendering the string
is cut at the placeholders into segments: `(text, True)` came from the template or from harmless text, `(text, False)`
is the text of a control token that somebody wrote. Everything else passes unchanged: ordinary chats tokenize as ever.
"""

from __future__ import annotations

import bisect
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import TypeVar

Segment = tuple[str, bool]
"""Text, and whether the text of a control token in it means that token."""

T = TypeVar("T")

_FIRST = 0xE000
_PRIVATE = 0xF8FF - _FIRST + 1
"""Private-use characters of the basic plane: no case, no decomposition, and no template knows them."""

_NONCE_LENGTH = 8
"""6,400 ** 8 is more than 2 ** 100."""


def literal_pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for any of `texts`, the longest where several match; None if there are none.

    A trie, not a plain alternation: a vocabulary has thousands of control tokens that begin with the same character.
    """
    words = sorted({text for text in texts if text})
    return re.compile(_trie(words, 0)) if words else None


def _trie(words: list[str], depth: int) -> str:
    """Pattern for what follows after `depth` characters that all of the sorted `words` share."""
    ends_here = len(words[0]) == depth
    rest = words[1:] if ends_here else words
    if not rest:
        return ""
    shared = depth + _shared(rest[0][depth:], rest[-1][depth:])
    if shared > depth:
        body = re.escape(rest[0][depth:shared]) + _trie(rest, shared)
    else:
        branches: list[list[str]] = []
        for word in rest:
            if not branches or branches[-1][0][depth] != word[depth]:
                branches.append([])
            branches[-1].append(word)
        body = "(?:" + "|".join(_trie(branch, depth) for branch in branches) + ")"
    return f"(?:{body})?" if ends_here else body


def _shared(first: str, last: str) -> int:
    """Length of the common prefix; of a sorted list's first and last, it is that of all."""
    length = 0
    for left, right in zip(first, last, strict=False):
        if left != right:
            break
        length += 1
    return length


class ControlTexts:
    """The texts of one vocabulary's control tokens, ready to be found in what people write. Immutable."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = sorted({text for text in texts if text})
        self.pattern = literal_pattern(known)
        # Names that templates compare ("user", "function") end in letters, and must not be touched.
        self._openers = [text for text in known if not text[0].isalnum()]
        self._longest = max((len(text) for text in self._openers), default=0)

    def __bool__(self) -> bool:
        return self.pattern is not None

    def open_end(self, text: str) -> int:
        """Where a beginning of a control token starts that ends `text`; the length of `text` if there is none.

        A template may put two texts next to each other, or strip the white space after one, and so complete a token
        that neither text holds alone.
        """
        stripped = text.rstrip()
        for start in range(max(0, len(stripped) - self._longest + 1), len(stripped)):
            tail = stripped[start:]
            place = bisect.bisect_left(self._openers, tail)
            if place < len(self._openers) and self._openers[place].startswith(tail):
                return start
        return len(text)


class Guard:
    """Protects the values of one prompt, and cuts what they are rendered to. The nonce serves one prompt only."""

    def __init__(self, controls: ControlTexts, *, nonce: str | None = None) -> None:
        self._controls = controls
        self._nonce = nonce or "".join(chr(_FIRST + secrets.randbelow(_PRIVATE)) for _ in range(_NONCE_LENGTH))
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def protect(self, value: T) -> T:
        """`value`, anything that JSON can hold, with every control token in its strings and keys replaced."""
        if not self._controls:
            return value
        return self._protect(value)  # type: ignore[return-value]  # the shape is kept

    def _protect(self, value: object) -> object:
        if isinstance(value, str):
            return self._protect_text(value)
        if isinstance(value, dict):
            return {self._protect(key): self._protect(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._protect(item) for item in value]
        return value

    def _protect_text(self, text: str) -> str:
        pattern = self._controls.pattern
        if pattern is not None:
            text = pattern.sub(lambda match: self._placeholder(match.group()), text)
        start = self._controls.open_end(text)
        if start < len(text):
            end = len(text.rstrip())
            text = text[:start] + self._placeholder(text[start:end]) + text[end:]
        return text

    def _placeholder(self, text: str) -> str:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        high, low = divmod(number, _PRIVATE)
        return self._nonce + chr(_FIRST + high) + chr(_FIRST + low)

    def split(self, rendered: str) -> list[Segment]:
        """Cut a rendered string at the placeholders. Placeholders that a template dropped or repeated are fine."""
        if not self._texts:
            return [(rendered, True)] if rendered else []
        # A template may escape what is not ASCII when it writes JSON.
        escaped = re.escape(json.dumps(self._nonce)[1:-1]) + r"((?:\\u[0-9a-f]{4}){2})"
        pattern = re.compile(f"{re.escape(self._nonce)}(..)|{escaped}", re.DOTALL)
        segments: list[Segment] = []
        end = 0
        for match in pattern.finditer(rendered):
            if match.start() > end:
                segments.append((rendered[end : match.start()], True))
            in_json = match.group(1) is None
            text = self._lookup(json.loads(f'"{match.group(2)}"') if in_json else match.group(1))
            segments.append((json.dumps(text)[1:-1] if in_json else text, False))
            end = match.end()
        if end < len(rendered):
            segments.append((rendered[end:], True))
        return segments

    def _lookup(self, code: str) -> str:
        number = (ord(code[0]) - _FIRST) * _PRIVATE + ord(code[1]) - _FIRST
        return self._texts[number] if 0 <= number < len(self._texts) else ""


def plain_text(segments: Sequence[Segment]) -> str:
    """The rendered string as it would read without any protection."""
    return "".join(text for text, _ in segments)
