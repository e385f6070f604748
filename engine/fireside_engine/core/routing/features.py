"""What a prompt looks like, before anybody answers it: the features that a decision names. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from fireside_engine.core.request import ChatPrompt, FillPrompt, Request, TextPrompt

CHARS_PER_TOKEN = 3.6
"""Of mixed text, for prompts that nobody has tokenized yet."""

KINDS = ("code", "extraction", "rewriting", "classification", "arithmetic", "open")

_CODE = re.compile(
    r"```|\b(def|class|import|return|function|const|#include|SELECT)\b.*[(:{;]|\b(python|javascript|typescript|rust|sql|"
    r"regex|bash|function|code|unit tests?|compile[rs]?|refactor|stack trace)\b",
    re.IGNORECASE,
)
_EXTRACTION = re.compile(
    r"\b(extract|list (all|every|the)|find (all|every|the)|pull out|which (names|dates|numbers)|as json)\b",
    re.IGNORECASE,
)
_REWRITING = re.compile(
    r"\b(rewrite|rephrase|translate|summari[sz]e|shorten|correct|proofread|fix the (grammar|spelling)|paraphrase|"
    r"make (it|this) (shorter|formal|polite|simpler))\b",
    re.IGNORECASE,
)
_CLASSIFICATION = re.compile(
    r"\b(classify|categori[sz]e|label|sentiment|spam|positive or negative|true or false|yes or no|which (category|of "
    r"these))\b",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"\d\s*[-+*/×÷^%]\s*\d|\b(calculate|how (many|much)|sum of|product of|percent(age)?|average|multiply|divide)\b.*\d",
    re.IGNORECASE | re.DOTALL,
)
_LOOK = 20_000
"""Characters of the last message that rules look at."""


@dataclass(frozen=True, slots=True)
class Features:
    kind: str
    n_chars: int
    """Of the whole prompt."""
    n_tokens: int
    """Estimated, until a tokenizer has counted."""
    n_turns: int
    """Messages of the user."""
    tools: bool = False
    tool_loop: bool = False
    """The answer goes on with what tools said since the user last spoke."""
    constrained: bool = False
    """The answer has a schema or a grammar."""
    chat: bool = True
    fill: bool = False
    foreign: float = 0.0
    """Share of letters of the last message that are not Latin."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def features_of(request: Request) -> Features:
    prompt = request.prompt
    constrained = request.constraint is not None
    if isinstance(prompt, ChatPrompt):
        last = next((m.content for m in reversed(prompt.messages) if m.role == "user"), "")
        n_chars = sum(len(m.content) + len(m.reasoning) + len(str(m.tool_calls or "")) for m in prompt.messages)
        n_chars += sum(len(str(tool)) for tool in prompt.tools)
        return Features(
            kind=kind_of(last),
            n_chars=n_chars,
            n_tokens=estimate(n_chars),
            n_turns=sum(m.role == "user" for m in prompt.messages),
            tools=bool(prompt.tools),
            tool_loop=in_tool_loop(prompt),
            constrained=constrained or bool(prompt.forced_tools),
            foreign=round(_foreign(last[:_LOOK]), 3),
        )
    if isinstance(prompt, TextPrompt):
        n = len(prompt.text)
        return Features(kind_of(prompt.text[-_LOOK:]), n, estimate(n), 1, constrained=constrained, chat=False)
    if isinstance(prompt, FillPrompt):
        n = len(prompt.prefix) + len(prompt.suffix)
        return Features("code", n, estimate(n), 1, constrained=constrained, chat=False, fill=True)
    n = sum(len(piece) if isinstance(piece, str) else round(len(piece) * CHARS_PER_TOKEN) for piece in prompt.pieces)
    return Features("open", n, estimate(n), 1, constrained=constrained, chat=False)


def kind_of(text: str) -> str:
    """One of KINDS, by simple rules on what the user said last. The first rule that fits decides."""
    text = text[:_LOOK]
    for kind, pattern in (
        ("classification", _CLASSIFICATION),
        ("rewriting", _REWRITING),
        ("extraction", _EXTRACTION),
        ("code", _CODE),
        ("arithmetic", _ARITHMETIC),
    ):
        if pattern.search(text):
            return kind
    return "open"


def in_tool_loop(prompt: ChatPrompt) -> bool:
    """Since the user last spoke, a tool was called."""
    for message in reversed(prompt.messages):
        if message.role == "user":
            return False
        if message.role == "tool" or message.tool_calls:
            return True
    return False


def estimate(n_chars: int) -> int:
    """Tokens of so many characters, and of the template around them."""
    return max(1, round(n_chars / CHARS_PER_TOKEN) + 8)


def _foreign(text: str) -> float:
    letters = [char for char in text if char.isalpha()]
    return sum(ord(char) > 0x24F for char in letters) / len(letters) if letters else 0.0
