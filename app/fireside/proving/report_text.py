"""The report as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fireside import table
from fireside.proving.drift import Drift
from fireside.proving.result import ArmResult, Result
from fireside.proving.statistics import Interval, Tally

_ARMS = (
    "ANSWERED BY",
    "PROMPTS",
    "CHECKS PASSED",
    "QUALITY",
    "WIN/TIE/LOSS",
    "SECONDS",
    "OF LARGE",
    "TOKENS",
    "STAYED SMALL",
)
_KINDS = ("KIND", "PROMPTS", "WIN", "TIE", "LOSS", "AT LEAST AS GOOD")
_WORST_JUDGE = 0.75
"""Planted answers that a judge must see through before its word is worth reading."""


def render(result: Result) -> str:
    """All of it, ending with a newline."""
    small, large = result.tiers[0].name, result.tiers[-1].name
    parts = [f"{small} against {large}, by kind of prompt", kinds_table(result.kinds)]
    if any(arm.n for arm in result.chosen):
        parts += ["The half that thresholds were chosen with", arms_table(result.chosen)]
    if any(arm.n for arm in result.held):
        parts += ["The held-out half, which no choice has seen", arms_table(result.held)]
    parts.append("\n".join(verdicts(result)) + "\n")
    return "\n".join(parts)


def kinds_table(kinds: Mapping[str, Tally]) -> str:
    rows = [
        [kind, str(tally.n), str(tally.win), str(tally.tie), str(tally.loss), share(tally.kept())]
        for kind, tally in kinds.items()
    ]
    total = Tally(*(sum(tally[at] for tally in kinds.values()) for at in range(3)))
    rows.append(["all", str(total.n), *(str(n) for n in total), share(total.kept())])
    return table.render(_KINDS, rows)


def arms_table(arms: Sequence[ArmResult]) -> str:
    rows = [arm_row(arm) for arm in arms]
    if any(arm.joules is not None for arm in arms):
        head = (*_ARMS, "JOULES")
        joules = ["-" if arm.joules is None else f"{arm.joules:,.0f}" for arm in arms]
        return table.render(head, [[*row, value] for row, value in zip(rows, joules, strict=True)])
    return table.render(_ARMS, rows)


def arm_row(arm: ArmResult) -> list[str]:
    quality = arm.tally.quality()
    return [
        arm.label,
        str(arm.n),
        "-" if arm.passed is None else f"{share(arm.passed)} of {arm.n_checked}",
        f"{quality.value:.2f} ({quality.low:.2f} to {quality.high:.2f})" if arm.tally.n else "-",
        f"{arm.tally.win}/{arm.tally.tie}/{arm.tally.loss}",
        f"{arm.seconds:,.1f}",
        "-" if arm.share is None else share(arm.share),
        f"{arm.tokens:,}",
        f"{arm.small} of {arm.n}" if arm.small or arm.escalated else "-",
    ]


def verdicts(result: Result) -> list[str]:
    """What follows, in sentences."""
    found = []
    for mode, choice in result.choices.items():
        if not choice.is_made:
            found.append(f"{mode}: no threshold: {choice.why_not}.")
        elif why := result.withdrawn.get(mode):
            found.append(f"{mode}: thresholds were chosen, and are not used: {why}.")
        else:
            kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in choice.kinds.items() if value > 0)
            found.append(
                f"{mode}: the small answer stays up to a doubt of: {kinds}; other kinds go to the large model. "
                f"Quality is above {choice.bound:.2f} with 95 % on the half it was chosen with."
            )
    if not result.choices:
        found.append("The engine does not route, so there are no thresholds to choose.")
    seen, planted = result.audit
    if planted:
        words = f"The judge saw through {seen} of {planted} planted bad answers"
        found.append(
            f"{words}{'.' if seen >= _WORST_JUDGE * planted else ': its word on open questions is worth little.'}"
        )
    found.append(_bias(result))
    if kept := sum(arm.kept for arm in result.held):
        total = kept + sum(arm.deferred for arm in result.held)
        found.append(f"Of escalated answers {kept / total:.0%} of the tokens were kept as the small model wrote them.")
    if errors := sum(arm.errors for arm in (*result.chosen, *result.held)):
        found.append(f"{errors} comparisons are missing, because an answer failed.")
    if result.energy:
        found.append(f"No joules: {result.energy}.")
    return [line for line in found if line]


def _bias(result: Result) -> str:
    bias = result.bias
    if not bias.n_decided:
        return ""
    words = f"Of {bias.n_decided} pairs that the judge decided, the longer answer won {share(bias.longer)}"
    if bias.longer.low > 0.5:
        words += ", more than half: it may like length"
    if bias.first is not None:
        words += f"; the answer in the first place got {bias.first:.0%}, which both orders cancel"
    return f"{words}."


def share(value: Interval) -> str:
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"


def render_drift(found: Drift) -> str:
    body = kinds_table(found.kinds) if found.total.n else ""
    return f"{body}{found.verdict[:1].upper()}{found.verdict[1:]}.\n"
