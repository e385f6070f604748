"""What a run has shown: for each arm quality, seconds and tokens; for each kind win, tie and loss; the proof. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fireside.proving.arms import Arm, Tier
from fireside.proving.evidence import AUDIT_ARM, Pairing, Rows, compare, judged_of
from fireside.proving.items import Item
from fireside.proving.judging import Bias, Outcome, bias, outcome, preference
from fireside.proving.statistics import Interval, Tally, ratio, wilson
from fireside.proving.thresholds import Choice, Replay
from fireside.wire import JsonObject

VERSION = 1
MOST_EXAMPLES = 9


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One line of the table."""

    label: str
    n: int
    """Prompts with an answer of this arm and of the base."""
    passed: Interval | None
    """Of those with a check."""
    n_checked: int
    tally: Tally
    seconds: float
    share: Interval | None
    """Of the base's seconds, on the same prompts."""
    tokens: int
    cached_tokens: int
    joules: float | None
    small: int
    """Answers that stayed with a tier below the most capable one."""
    escalated: int
    kept: int
    deferred: int
    errors: int


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt on which an arm was worse."""

    item: Item
    label: str
    mine: str
    base: str
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    tiers: Sequence[Tier]
    chosen: Sequence[ArmResult]
    """On the half that thresholds were chosen with."""
    held: Sequence[ArmResult]
    kinds: Mapping[str, Tally]
    """The cheapest tier against the most capable one, all prompts."""
    choices: Mapping[str, Choice]
    """By mode."""
    replays: Sequence[Replay]
    floor: float
    bias: Bias
    audit: tuple[int, int]
    """Planted bad answers that the judge saw through, and how many there were."""
    examples: Sequence[Example]
    energy: str
    """Why there are no joules; empty if there are."""
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    """By mode, why its thresholds are not used although they were chosen."""
    n_prompts: int = 0

    @property
    def n(self) -> int:
        """Prompts that were compared."""
        return sum(tally.n for tally in self.kinds.values())


def arm_result(label: str, pairs: Sequence[tuple[Item, Arm, Arm]], rows: Rows, top: str) -> ArmResult:
    """`pairs`: prompt, arm and base; `top`: the name of the most capable tier."""
    both = [
        (item, arm, rows.answers[item.id, arm.key], rows.answers[item.id, base.key], base)
        for item, arm, base in pairs
        if (item.id, arm.key) in rows.answers and (item.id, base.key) in rows.answers
    ]
    whole = [entry for entry in both if not entry[2].error and not entry[3].error]
    checks = [rows.checks[item.id, arm.key] for item, arm, *_ in whole if (item.id, arm.key) in rows.checks]
    outcomes = [compare(rows, Pairing(item, arm.key, base.key)) for item, arm, _, _, base in whole]
    joules = [mine.joules for _, _, mine, _, _ in whole if mine.joules is not None]
    return ArmResult(
        label,
        len(whole),
        wilson(sum(check.passed for check in checks), len(checks)) if checks else None,
        len(checks),
        count(outcomes),
        sum(mine.seconds for _, _, mine, _, _ in whole),
        ratio([(mine.seconds, other.seconds) for _, _, mine, other, _ in whole]),
        sum(mine.tokens for _, _, mine, _, _ in whole),
        sum(mine.cached_tokens for _, _, mine, _, _ in whole),
        sum(joules) if joules else None,
        sum(bool(mine.tier) and mine.tier != top and not mine.escalated for _, _, mine, _, _ in whole),
        sum(mine.escalated for _, _, mine, _, _ in whole),
        sum(mine.kept for _, _, mine, _, _ in whole),
        sum(mine.deferred for _, _, mine, _, _ in whole),
        len(both) - len(whole),
    )


def count(outcomes: Iterable[Outcome | None]) -> Tally:
    found = list(outcomes)
    return Tally(found.count("win"), found.count("tie"), found.count("loss"))


def by_kind(pairs: Sequence[tuple[Item, Arm, Arm]], rows: Rows) -> dict[str, Tally]:
    found: dict[str, list[Outcome | None]] = {}
    for item, arm, base in pairs:
        found.setdefault(item.kind, []).append(compare(rows, Pairing(item, arm.key, base.key)))
    return {kind: count(outcomes) for kind, outcomes in sorted(found.items())}


def replays_of(pairs: Sequence[tuple[Item, Arm, Arm]], rows: Rows) -> list[Replay]:
    """Prompts that both tiers answered, of which the engine told the doubt."""
    found = []
    for item, small, large in pairs:
        result = compare(rows, Pairing(item, small.key, large.key))
        mine, other = rows.answers.get((item.id, small.key)), rows.answers.get((item.id, large.key))
        if result is not None and mine is not None and other is not None and mine.doubt is not None:
            found.append(Replay(mine.kind or item.kind, mine.doubt, result, mine.seconds, other.seconds))
    return found


def bias_of(pairs: Sequence[tuple[Item, Arm, Arm]], rows: Rows) -> Bias:
    judged = [judged_of(rows, Pairing(item, arm.key, base.key)) for item, arm, base in pairs]
    return bias(entry for entry in judged if entry is not None)


def audit_of(rows: Rows) -> tuple[int, int]:
    """How many planted bad answers lost, and how many there were."""
    ids = {item for item, arm, _ in rows.votes if arm == AUDIT_ARM}
    whole = [id_ for id_ in ids if all((id_, AUDIT_ARM, swapped) in rows.votes for swapped in (False, True))]
    lost = [
        outcome(preference(rows.votes[id_, AUDIT_ARM, False], rows.votes[id_, AUDIT_ARM, True])) == "loss"
        for id_ in whole
    ]
    return sum(lost), len(lost)


def examples_of(pairs: Sequence[tuple[Item, Arm, Arm]], rows: Rows) -> list[Example]:
    """Prompts on which the arm lost, of different kinds first."""
    found: dict[str, list[Example]] = {}
    for item, arm, base in pairs:
        if compare(rows, Pairing(item, arm.key, base.key)) == "loss":
            check = rows.checks.get((item.id, arm.key))
            why = check.why if check is not None and not check.passed else "the judge prefers the other answer"
            mine, other = (rows.answers[item.id, key].text for key in (arm.key, base.key))
            found.setdefault(item.kind, []).append(Example(item, arm.label, mine, other, why))
    turns = [entry[at] for at in range(MOST_EXAMPLES) for entry in found.values() if at < len(entry)]
    return turns[:MOST_EXAMPLES]


def proof_of(result: Result, made: str, tolerance: Mapping[str, float]) -> JsonObject:
    """What the engine is told. Modes of which nothing may be concluded have no thresholds."""
    thresholds: JsonObject = {}
    for mode, choice in result.choices.items():
        if choice.is_made and mode not in result.withdrawn:
            # What this run saw nothing of goes to the large tier.
            thresholds[mode] = {"threshold": 0.0, "tolerance": tolerance[mode], "kinds": dict(choice.kinds)}
    kinds = {}
    for kind, tally in result.kinds.items():
        kept = tally.kept()
        kinds[kind] = {**tally._asdict(), "n": tally.n, "low": round(kept.low, 4), "high": round(kept.high, 4)}
    held = {arm.label: _arm_json(arm) for arm in result.held}
    return {
        "version": VERSION,
        "roster": [tier.name for tier in result.tiers],
        "identities": [tier.identity for tier in result.tiers],
        "made": made,
        "n": result.n,
        "kinds": kinds,
        "thresholds": thresholds,
        "floor": result.floor,
        "held_out": {"n": max((arm.n for arm in result.held), default=0), "arms": held},
        "seconds": {arm.label: round(arm.seconds, 3) for arm in result.held},
        "judge": {
            "audit": list(result.audit),
            "longer_wins": list(result.bias.longer),
            "first": result.bias.first,
            "decided": result.bias.n_decided,
        },
    }


def _arm_json(arm: ArmResult) -> JsonObject:
    quality = arm.tally.quality()
    return {
        "n": arm.n,
        "passed": None if arm.passed is None else list(arm.passed),
        "checked": arm.n_checked,
        **arm.tally._asdict(),
        "quality": list(quality),
        "seconds": round(arm.seconds, 3),
        "share_of_seconds": None if arm.share is None else list(arm.share),
        "tokens": arm.tokens,
        "cached_tokens": arm.cached_tokens,
        "joules": arm.joules,
        "small": arm.small,
        "escalated": arm.escalated,
        "kept": arm.kept,
        "deferred": arm.deferred,
        "errors": arm.errors,
    }
