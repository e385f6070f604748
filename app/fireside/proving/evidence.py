"""What the rows of a run say: which answer was better, what is still to be done. Pure.

Everything is derived from rows, so a run that was killed goes on wherever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from fireside.proving.arms import Arm
from fireside.proving.items import Item
from fireside.proving.judging import Judged, Outcome, Vote, outcome, preference
from fireside.proving.store import Answered, Checked

BLOCK = 6
"""Prompts that one arm answers in a row before the next arm has its turn: far enough apart that no arm finds the prompt
in the KV of the arm before, near enough that a busy machine is as busy for all of them."""
AUDIT = 8
"""Pairs in which the judge has to tell an answer from one to another question."""


class Rows(Protocol):
    """What is stored of a run."""

    answers: dict[tuple[str, str], Answered]
    checks: dict[tuple[str, str], Checked]
    votes: dict[tuple[str, str, bool], Vote]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Whose answer to a prompt is compared with whose."""

    item: Item
    arm: str
    base: str
    """Keys of arms; the base is the most capable tier."""


class Todo(NamedTuple):
    """The next thing to do."""

    what: Literal["answer", "check", "vote"]
    item: Item
    arm: Arm
    base: Arm | None = None
    swapped: bool = False


@dataclass(slots=True)
class Stage:
    """Some prompts and the arms that answer each; the first arm is the base."""

    items: Sequence[Item]
    arms: Callable[[Item], Sequence[Arm]]
    """Those that are known; an arm may become known by the answers of earlier ones."""
    width: int
    """Arms of a prompt when all are known."""

    def todos(self, rows: Rows) -> Iterator[Todo]:
        """What is missing, in the order in which it is done; what was yielded is in the rows before the next one."""
        for begin in range(0, len(self.items), BLOCK):
            block = self.items[begin : begin + BLOCK]
            yield from self._answers(block, rows)
            yield from self._judgements(block, rows)

    def count(self, rows: Rows) -> tuple[int, int]:
        """Answers that are there, and all."""
        keys = [(item.id, arm.key) for item in self.items for arm in self.arms(item)]
        return sum(key in rows.answers for key in keys), self.width * len(self.items)

    def _answers(self, block: Sequence[Item], rows: Rows) -> Iterator[Todo]:
        for at in range(self.width):
            for item in block:
                arms = self.arms(item)
                if at < len(arms) and (item.id, arms[at].key) not in rows.answers:
                    yield Todo("answer", item, arms[at])

    def _judgements(self, block: Sequence[Item], rows: Rows) -> Iterator[Todo]:
        for item in block:
            base, *others = self.arms(item)
            for arm in (base, *others):
                has_check = item.check is not None and (item.id, arm.key) not in rows.checks
                if has_check and not rows.answers[item.id, arm.key].error:
                    yield Todo("check", item, arm)
            for arm in others:
                if needs_judge(rows, Pairing(item, arm.key, base.key)):
                    for swapped in (False, True):
                        if (item.id, arm.key, swapped) not in rows.votes:
                            yield Todo("vote", item, arm, base, swapped)


def needs_judge(rows: Rows, pair: Pairing) -> bool:
    """Whether only a judge can tell: no check does, and the answers are not the same."""
    mine, other = rows.answers.get((pair.item.id, pair.arm)), rows.answers.get((pair.item.id, pair.base))
    if mine is None or other is None or mine.error or other.error or same_text(mine, other):
        return False
    if pair.item.check is None:
        return True
    checks = [rows.checks.get((pair.item.id, key)) for key in (pair.arm, pair.base)]
    return pair.item.then_judge and all(check is not None and check.passed for check in checks)


def compare(rows: Rows, pair: Pairing) -> Outcome | None:
    """Of the arm against the base; None where it is not known yet, or an answer failed."""
    mine, other = rows.answers.get((pair.item.id, pair.arm)), rows.answers.get((pair.item.id, pair.base))
    if mine is None or other is None or mine.error or other.error:
        return None
    if same_text(mine, other):
        return "tie"
    if pair.item.check is not None:
        one, two = rows.checks.get((pair.item.id, pair.arm)), rows.checks.get((pair.item.id, pair.base))
        if one is None or two is None:
            return None
        if one.passed != two.passed:
            return "win" if one.passed else "loss"
        if not (pair.item.then_judge and one.passed):
            return "tie"
    judged = judged_of(rows, pair)
    return None if judged is None else outcome(preference(judged.straight, judged.swapped))


def judged_of(rows: Rows, pair: Pairing) -> Judged | None:
    """What the judge said of a pair, if it was asked."""
    straight = rows.votes.get((pair.item.id, pair.arm, False))
    swapped = rows.votes.get((pair.item.id, pair.arm, True))
    mine, other = rows.answers.get((pair.item.id, pair.arm)), rows.answers.get((pair.item.id, pair.base))
    if straight is None or swapped is None or mine is None or other is None:
        return None
    return Judged(straight, swapped, len(mine.text), len(other.text))


def same_text(a: Answered, b: Answered) -> bool:
    return a.text.split() == b.text.split()


class Planted(NamedTuple):
    """A pair that the judge must be able to tell: a real answer, and one to another question."""

    item: Item
    good: str
    bad: str


def plant(items: Sequence[Item], rows: Rows, base: Arm) -> list[Planted]:
    """From prompts that are judged, once their answers are there; each bad answer is the next prompt's."""
    judged = [item for item in items if item.check is None or item.then_judge]
    there = [(item, rows.answers.get((item.id, base.key))) for item in judged]
    texts = [(item, answer.text) for item, answer in there if answer is not None and answer.text and not answer.error]
    return [
        Planted(item, text, texts[(at + 1) % len(texts)][1])
        for at, (item, text) in enumerate(texts[:AUDIT])
        if text != texts[(at + 1) % len(texts)][1]
    ]


AUDIT_ARM = "a planted bad answer"
"""The arm below which votes about planted answers are stored."""
