"""A model as judge of two answers: what it is asked, what its words mean, what several judgements come to. Pure.

The judge does not know whose answers these are and is asked twice, each answer being first once. What it says is a
probability, so a judge that prefers the first place gives both answers the same advantage, and the sum has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from fireside.proving.statistics import Interval, wilson
from fireside.wire import JsonObject

Outcome = Literal["win", "tie", "loss"]

TIE_MARGIN = 0.1
"""How far from a half the mean probability may be and still be a tie."""
CLIP = 3000
"""Characters of a question or an answer that the judge reads; the middle of longer ones is left out."""

_INSTRUCTION = """\
You compare two answers to the same question. The better one is correct and does what was asked; between two correct \
ones it is the clearer one. Length is no merit.

Question:
{question}

Answer A:
{first}

Answer B:
{second}

Which answer is better? Reply with the letter A or B only."""


class Vote(NamedTuple):
    """What the judge said once."""

    first_is_better: float | None
    """A probability; None where its words mean nothing."""


def question(asked: str, first: str, second: str) -> JsonObject:
    """The members of a chat completion in which the answer is one letter."""
    words = _INSTRUCTION.format(question=clip(asked), first=clip(first), second=clip(second))
    return {
        "messages": [{"role": "user", "content": words}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 10,
    }


def clip(text: str) -> str:
    return text if len(text) <= CLIP else f"{text[: CLIP // 2]}\n[…]\n{text[-CLIP // 2 :]}"


def read_vote(answer: JsonObject) -> Vote:
    """From the completion: by the probabilities of the two letters, or by the letter where there are none."""
    choice = answer["choices"][0]
    entries = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
    weights = {"A": 0.0, "B": 0.0}
    for entry in entries:
        letter = _letter(entry.get("token"))
        if letter:
            weights[letter] += math.exp(min(0.0, float(entry["logprob"])))
    total = weights["A"] + weights["B"]
    if total > 0:
        return Vote(weights["A"] / total)
    letter = _letter((choice.get("message") or {}).get("content"))
    return Vote(None if letter is None else 1.0 if letter == "A" else 0.0)


def _letter(text: Any) -> Literal["A", "B"] | None:
    word = str(text or "").strip().strip(".:*()").upper()
    return "A" if word == "A" else "B" if word == "B" else None


def preference(straight: Vote, swapped: Vote) -> float | None:
    """How sure the judge is that an answer is the better one: in `straight` it stood first, in `swapped` second.

    Asked for the other answer, it is one less this.
    """
    if straight.first_is_better is None or swapped.first_is_better is None:
        return None
    return (straight.first_is_better + 1.0 - swapped.first_is_better) / 2


def outcome(sureness: float | None) -> Outcome:
    """Where the judge did not answer, nothing is known to be better."""
    if sureness is None or abs(sureness - 0.5) <= TIE_MARGIN:
        return "tie"
    return "win" if sureness > 0.5 else "loss"


class Judged(NamedTuple):
    """One pair that was judged in both orders."""

    straight: Vote
    swapped: Vote
    length: int
    other_length: int
    """Characters of the two answers."""


class Bias(NamedTuple):
    """What the judge likes besides better answers."""

    longer: Interval
    """The share of decided pairs in which the longer answer won."""
    n_decided: int
    first: float | None
    """Its mean probability for the answer that stands first; a half is fair."""
    n_unclear: int
    """Pairs about which it said nothing that could be read."""


def bias(pairs: Iterable[Judged]) -> Bias:
    longer = decided = unclear = 0
    firsts: list[float] = []
    for pair in pairs:
        sureness = preference(pair.straight, pair.swapped)
        if sureness is None:
            unclear += 1
            continue
        firsts += [vote.first_is_better for vote in pair[:2] if vote.first_is_better is not None]
        result = outcome(sureness)
        if result != "tie" and pair.length != pair.other_length:
            decided += 1
            longer += (result == "win") == (pair.length > pair.other_length)
    return Bias(wilson(longer, decided), decided, sum(firsts) / len(firsts) if firsts else None, unclear)
