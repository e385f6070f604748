"""Judges shadowed turns: what a routed answer was worth against the one that the large model gave in idle time."""

from __future__ import annotations

from collections.abc import Sequence

from fireside.proving import asking
from fireside.proving.drift import Drift, Shadow, drift, read_shadows
from fireside.proving.evidence import Pairing, compare, needs_judge
from fireside.proving.idling import Idle
from fireside.proving.routing import Routing
from fireside.proving.sampling import Placed
from fireside.proving.store import Answered, Proofs, Run
from fireside.terminal import Narrator
from fireside.wire import JsonObject

ROUTED, LARGE = "routed", "large"


def judge_shadows(routing: Routing, proofs: Proofs, narrator: Narrator, *, idle: bool) -> Drift:
    """Judgements are kept, so each shadow costs the judge once. Raises EngineFailure, StoreFailure."""
    roster = routing.roster()
    shadows = read_shadows(routing.shadows()) if roster else []
    about: JsonObject = {"shadows": [[tier.name, tier.identity] for tier in roster]}
    run = proofs.find(about) or proofs.begin(about, [])
    _keep(run, shadows)
    waiting = Idle(routing.client, wanted=idle)
    pairs = [Pairing(shadow.item, ROUTED, LARGE) for shadow in shadows]
    for at, pair in enumerate(pairs):
        for swapped in _votes(run, pair):
            narrator.status(f"judging shadows: {at} of {len(pairs)}")
            waiting.wait(narrator.status)
            texts = [run.answers[pair.item.id, key].text for key in (ROUTED, LARGE)]
            first, second = texts[::-1] if swapped else texts
            vote = asking.vote(routing.client, roster[-1].name, pair.item.question, first, second)
            run.add_vote(pair.item.id, ROUTED, swapped, vote)
    outcomes = [(pair.item.kind, compare(run, pair)) for pair in pairs]
    return drift([(kind, outcome) for kind, outcome in outcomes if outcome is not None], routing.proof())


def _keep(run: Run, shadows: Sequence[Shadow]) -> None:
    known = {item.id for item, _ in run.placed}
    run.add_items([Placed(shadow.item, "held") for shadow in shadows if shadow.item.id not in known])
    for shadow in shadows:
        for key, text in ((ROUTED, shadow.text), (LARGE, shadow.large_text)):
            if (shadow.item.id, key) not in run.answers:
                run.add_answer(shadow.item.id, key, Answered(text, 0.0, doubt=shadow.doubt))


def _votes(run: Run, pair: Pairing) -> list[bool]:
    """The orders in which the judge still has to be asked; true is swapped."""
    if not needs_judge(run, pair):
        return []
    return [swapped for swapped in (False, True) if (pair.item.id, ROUTED, swapped) not in run.votes]
