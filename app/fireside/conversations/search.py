"""What a search means, and where in a text it was found. Pure; `store` asks the database.

Words are looked up by their beginnings, without regard to case and accents. Scripts that are written without spaces
have no words for the index: there, and where no word begins like that, runs of characters are looked for. The index of
runs knows none shorter than three, so shorter ones are found by reading every text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

By = Literal["words", "trigrams", "parts"]
CONTEXT = 60
"""Characters that an excerpt shows before what was found."""
EXCERPT = 200
SHORTEST_RUN = 3

_TERM = re.compile(r'"([^"]*)"?|(\S+)')
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese, Korean."""


class Plan(NamedTuple):
    """One way to ask the database."""

    by: By
    condition: str
    """Of SQL, which has `fold` as the function `folded`."""
    values: tuple[str, ...]


class Excerpt(NamedTuple):
    """A piece of a text in one line, and where in the piece it was found."""

    text: str
    marks: tuple[tuple[int, int], ...]


def parse(query: str) -> list[str]:
    """The words of a query; what stands in quotes is one."""
    terms = [quoted or word for quoted, word in _TERM.findall(query)]
    return [cleaned for term in terms if (cleaned := " ".join(term.replace('"', " ").replace("\0", " ").split()))]


def plans(terms: Sequence[str]) -> Iterator[Plan]:
    """Ways to ask, the best first; the next one is for when nothing was found."""
    words = [term for term in terms if any(char.isalnum() for char in term)]
    if words and not any(_UNSPACED.search(term) for term in words):
        match = " ".join(f'"{term}"*' for term in words)
        yield Plan("words", "words MATCH ?", (match,))
    long = [term for term in terms if len(term) >= SHORTEST_RUN]
    if long:
        yield Plan("trigrams", "trigrams MATCH ?", (" ".join(f'"{term}"' for term in long),))
    yield Plan("parts", " AND ".join(["instr(folded(turns.text), ?)"] * len(terms)), tuple(map(fold, terms)))


def holds(text: str, terms: Sequence[str], by: By) -> bool:
    """Whether a text that the database found has every term as it was written.

    The index of words knows no signs: `c++` is the word c to it. The one of runs knows no short terms and no accents.
    """
    folded = fold(text)
    return all(fold(term) in folded for term in terms if by != "words" or not _is_plain(term))


def _is_plain(term: str) -> bool:
    return all(char.isalnum() or char == " " or unicodedata.category(char)[0] == "M" for char in term)


def fold(text: str) -> str:
    """Without case and accents, each character in its place."""
    return text.lower() if text.isascii() else "".join(map(_fold_one, text))


def excerpt(text: str, terms: Sequence[str], context: int = CONTEXT, length: int = EXCERPT) -> Excerpt:
    """The surroundings of the first place where most of the terms are near each other; of the beginning if none is."""
    line = " ".join(text.split())
    folded = fold(line)
    places = sorted(place for term in terms for place in _places(folded, fold(term)))
    start = 0
    if places:
        best = max(places, key=lambda at: (len({p[2] for p in places if at[0] <= p[0] < at[0] + length}), -at[0]))
        start = max(0, best[0] - context)
    end = min(len(line), start + length)
    before, after = "…" if start else "", "…" if end < len(line) else ""
    marks = _joined([(max(a, start), min(b, end)) for a, b, _ in places if b > start and a < end])
    shift = len(before) - start
    return Excerpt(before + line[start:end] + after, tuple((a + shift, b + shift) for a, b in marks))


def _places(folded: str, term: str, most: int = 50) -> Iterator[tuple[int, int, str]]:
    at = folded.find(term)
    while at >= 0 and most:
        yield at, at + len(term), term
        at, most = folded.find(term, at + 1), most - 1


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _fold_one(char: str) -> str:
    base = unicodedata.normalize("NFD", char)[0].lower()
    return base if len(base) == 1 else char
