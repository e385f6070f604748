"""Routing as the server keeps it: what is known of tiers and conversations, and the plan for one call.

What decides is pure (core.routing); here its facts are gathered: prices by what the loaded models say of their KV
and by what answers took, thresholds by the proof of the roster.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from fireside_engine import errors
from fireside_engine.core.events import Finished, Timings
from fireside_engine.core.request import ChatPrompt, Request
from fireside_engine.core.routing.decision import Decision, Situation, decide
from fireside_engine.core.routing.features import Features, features_of
from fireside_engine.core.routing.memory import TurnMemory
from fireside_engine.core.routing.price import Known, Price, Rates, answer_length, first_rates, price
from fireside_engine.core.routing.proof import Proof, thresholds_for
from fireside_engine.core.routing.roster import Escalation, Mode
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.call import Call
from fireside_engine.server.naming import Route
from fireside_engine.server.routing.proofs import Proofs
from fireside_engine.server.routing.rosters import Member, Resolved
from fireside_engine.server.routing.trace import Row, Trace
from fireside_engine.worker.questions import Held

if TYPE_CHECKING:
    from fireside_engine.server.engine import Engine

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
"""How long a decision waits for a loaded model to say what of the prompt it has in KV."""
REMOTE_RATES = Rates(read=1000.0, write=30.0, load=0.0)
"""Of an engine elsewhere, until it has answered."""
_TELLING_PROMPT, _TELLING_ANSWER = 32, 16
"""Tokens from which on speeds are learned."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one call is to be answered."""

    decision: Decision
    features: Features
    prices: tuple[Price, ...]
    proof: Proof | None
    mode: Mode
    escalate: Escalation
    expected_n: int
    tolerance_on_drafts: float
    """What the most capable tier lets its draft model decide."""


class Router:
    """One for the engine, owned by its loop."""

    def __init__(self, engine: Engine, trace: Trace | None = None, proofs: Proofs | None = None) -> None:
        self.engine = engine
        self.trace = trace or Trace()
        self.proofs = proofs or Proofs()
        self.memory = TurnMemory()
        self._rates: dict[str, Rates] = {}
        self._lengths: deque[int] = deque(maxlen=50)

    # --- before an answer

    async def plan(self, resolved: Resolved, call: Call, tenant: str) -> Plan:
        """Raises InvalidRequest for a tier that the roster does not have."""
        request, wish, settings = call.requests[0], call.route, resolved.settings
        roster = resolved.roster
        mode: Mode = wish.mode or settings.mode
        proof = await asyncio.to_thread(self.proofs.of, roster)
        thresholds, grounds = thresholds_for(mode, proof)
        own = wish.threshold if wish.threshold is not None else settings.threshold
        if own is not None and mode != "exact":
            said = "the request" if wish.threshold is not None else "your settings"
            thresholds, grounds = replace(thresholds, threshold=own, kinds=()), f"by {said}"
        features = features_of(request)
        known = await self._known(resolved, call, tenant, features)
        features = replace(features, n_tokens=max(each.n for each in known))
        expected = answer_length(request.max_tokens, self._lengths)
        prices = tuple(
            price(self._rates_of(member), each, expected) for member, each in zip(resolved.members, known, strict=True)
        )
        past, words = None, ""
        if isinstance(request.prompt, ChatPrompt):
            past = self.memory.past(tenant, roster.identities, request.prompt)
            words = next((m.content for m in reversed(request.prompt.messages) if m.role == "user"), "")
        situation = Situation(
            roster, mode, features, prices, thresholds, grounds, past, resolved.rules, words, wish.tier
        )
        try:
            decision = decide(situation)
        except ValueError:
            names = ", ".join(tier.name for tier in roster.tiers)
            raise errors.InvalidRequest(
                f"fireside.route.tier: the roster has no tier {wish.tier}.", hint=f"It has {names}.", param="tier"
            ) from None
        given = wish.tolerance if wish.tolerance is not None else settings.tolerance
        tolerance = decision.tolerance if given is None or mode == "exact" else given
        if self._deterministic(resolved, call):
            # Which tokens are drafted depends on the moment, and a tolerance would let it show.
            tolerance = 0.0
        decision = replace(decision, tolerance=tolerance)
        settled = bool(wish.tier) or decision.reason.endswith("of your settings")
        on_drafts = tolerance if resolved.drafts and (wish.tolerance is not None or not settled) else 0.0
        escalate = wish.escalate or settings.escalate
        return Plan(decision, features, prices, proof, mode, escalate, expected, on_drafts)

    def _deterministic(self, resolved: Resolved, call: Call) -> bool:
        return self.engine.resident(resolved.front, deterministic=call.deterministic).key.options.deterministic

    async def _known(self, resolved: Resolved, call: Call, tenant: str, features: Features) -> list[Known]:
        request = call.requests[0]
        asked = await asyncio.gather(*(self._held(member, call, request, tenant) for member in resolved.members))
        counted = [known.n for known in asked if known is not None]
        n = max(counted) if counted else features.n_tokens
        found = []
        for i, (member, known) in enumerate(zip(resolved.members, asked, strict=True)):
            if known is None:
                before = 0
                if isinstance(request.prompt, ChatPrompt):
                    before = self.memory.in_kv(tenant, resolved.roster.identities, request.prompt, i)
                keeps = member.remote is not None or self._keeps(member)
                known = Known(n, disk=min(before, n - 1) if keeps else 0, loaded=member.remote is not None)
            found.append(known)
        return found

    def _keeps(self, member: Member) -> bool:
        return member.entry is not None and self.engine.catalogue.settings_of(member.entry).cache is not False

    async def _held(self, member: Member, call: Call, request: Request, tenant: str) -> Known | None:
        """What a loaded model says; None where none is loaded, or it takes too long."""
        if member.entry is None:
            return None
        resident = self.engine.resident(member.entry, deterministic=call.deterministic, draft=call.draft)
        if resident.state != "ready":
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                worker = await resident.worker()
                told = await worker.ask(Held(request.prompt, tenant))
        except (TimeoutError, errors.FiresideError) as error:
            # What is wrong with the prompt is told by the one that answers it.
            log.info("%s could not say what it has of a prompt: %s", member.tier.name, error)
            return None
        return Known(int(told["n"]), int(told["ram"]), int(told["disk"]))

    def _rates_of(self, member: Member) -> Rates:
        if (known := self._rates.get(member.tier.name)) is not None:
            return known
        if member.entry is None:
            return REMOTE_RATES
        loaded = [r.info for r in self.engine.supervisor.of_file(member.entry.path) if r.info is not None]
        return first_rates(member.entry.size, loaded[0].step_ms if loaded else 0.0)

    # --- after an answer

    def measured(self, name: str, timings: Timings, load_ms: float) -> None:
        """Learn from what a model took."""
        read = write = None
        if timings.prompt_n >= _TELLING_PROMPT and timings.prompt_ms > 0:
            read = timings.prompt_per_second
        if timings.predicted_n >= _TELLING_ANSWER and not timings.kept_n and timings.predicted_ms > 0:
            # Without what drafts won: they are worth much where a prompt comes again, and nothing where it does not.
            seconds = (timings.predicted_ms + max(0.0, timings.draft_ms_won)) / 1e3
            write = (timings.predicted_n - 1) / seconds
        before = self._rates.get(name)
        if before is None:
            if read is None and write is None:
                return
            step_ms = 1e3 / write if write else 0.0
            before = first_rates(10**9, step_ms)
            if write is None and read is not None:
                before = replace(before, write=read / 2.5)
        self._rates[name] = before.learn(read, write, load_ms / 1e3 if load_ms > 0 else None)

    def answered(self, call: Call, route: Route, ends: Sequence[Finished], load_ms: float) -> None:
        """Keep account of a call that ended well."""
        counts = all(request.save for request in call.requests)
        for end in ends:
            chosen = end.timings.route
            if counts and end.timings.predicted_n:
                self._lengths.append(end.timings.predicted_n)
            if chosen is None:
                self.measured(route.entry.name, end.timings, load_ms)
            body: dict[str, Any] = {
                "model": route.entry.name,
                "timings": {key: value for key, value in asdict(end.timings).items() if key != "route"},
                "load_ms": round(load_ms, 3),
                "bits": _bits(_answering(route, chosen)),
            }
            if chosen is not None:
                body["route"] = chosen
            self.trace.add(Row(end.request_id, time.time(), body, counts))


def _answering(route: Route, chosen: dict[str, Any] | None) -> Entry | None:
    """The model whose weights were read for it; None for one elsewhere."""
    if chosen is None or route.auto is None:
        return route.entry
    return next((m.entry for m in route.auto.members if m.tier.name == chosen.get("tier")), None)


def _bits(entry: Entry | None) -> float:
    """Of a weight, on average; 0 where nobody knows."""
    n_params = entry.details.get("n_params") if entry is not None else None
    return round(entry.size * 8 / n_params, 3) if entry is not None and n_params else 0.0
