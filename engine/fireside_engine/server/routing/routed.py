"""One call of `auto` on its way through its tiers, told as one generation.

The cheapest tier that may answer begins. While its doubt is looked at, what it writes is held back, in chunks that
leave as soon as they are judged; so a reader never sees a word that is taken back. Where it is in doubt, the next tier
reads what was held back, keeps the beginning that it agrees with, and goes on from there; what was shown already stays.
The same happens where a remote tier fails in the middle and the settings want a local one to go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Finished, FinishReason, Progress, Started, Timings, TokenLogprob
from fireside_engine.core.request import ChatPrompt, FillPrompt, Request, TokensPrompt
from fireside_engine.core.routing.doubt import ALTERNATIVES, Doubt
from fireside_engine.core.routing.memory import Turn
from fireside_engine.server.call import Call
from fireside_engine.server.generation import Answering
from fireside_engine.server.inbox import Inbox, Item
from fireside_engine.server.routing.remote import RemoteGeneration
from fireside_engine.server.routing.rosters import Resolved
from fireside_engine.server.routing.router import Plan, Router
from fireside_engine.worker.protocol import ModelInfo

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stage:
    """What one tier did."""

    tier: int
    doubt: Doubt = field(default_factory=Doubt)
    started: Started | None = None
    finished: Finished | None = None
    held: list[Delta] = field(default_factory=list)
    """Not shown yet."""
    n: int = 0
    """Tokens it wrote."""
    in_doubt: bool = False

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.held)


class RoutedGeneration:
    """An `Answering`."""

    def __init__(self, router: Router, resolved: Resolved, call: Call, tenant: str, client: str) -> None:
        self.info: ModelInfo | None = None
        """Of the tier whose words are shown first."""
        self.load_ms = 0.0
        self._router, self._resolved, self._call = router, resolved, call
        self._tenant, self._client = tenant, client
        settings = router.engine.settings
        self._inbox = Inbox(settings.buffer_limit, self._stop, settings.hold_limit, self._hold)
        self._keeps_up = asyncio.Event()
        self._keeps_up.set()
        self._task: asyncio.Task[None] | None = None
        self._current: Answering | None = None
        self._seconds: dict[str, float] = {}
        self._shown: list[str] = []
        self._n_shown = 0
        self._notes: list[str] = []
        self._doubt: float | None = None
        self._first: Started | None = None
        """What the client was told of the beginning."""

    async def __aenter__(self) -> Self:
        self._router.engine.live(self)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._router.engine.gone(self)
        self._stop()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def get(self) -> Item:
        return await self._inbox.get()

    def take(self) -> Item | None:
        return self._inbox.take()

    def cancel(self, request_id: str) -> None:
        if self._current is not None:
            self._current.cancel(request_id)

    def abort(self, error: errors.FiresideError) -> None:
        self._inbox.close(Failed("", error.to_dict()))
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _hold(self, held: bool) -> None:
        """The client does not keep up, or does again. What is not taken from a tier makes its model wait."""
        if held:
            self._keeps_up.clear()
        else:
            self._keeps_up.set()

    async def _run(self) -> None:
        try:
            plan = await self._router.plan(self._resolved, self._call, self._tenant)
            if self._is_single:
                await self._answer(plan)
            else:
                await self._pass(plan)
        except errors.FiresideError as error:
            self._inbox.close(Failed("", error.to_dict()))
        except Exception:
            log.exception("a call could not be routed")
            self._inbox.close(Failed("", errors.InternalError("The engine failed to route the request.").to_dict()))

    @property
    def _is_single(self) -> bool:
        """One answer of words that one tier can go on with where another stopped."""
        requests = self._call.requests
        return len(requests) == 1 and not isinstance(requests[0].prompt, FillPrompt | TokensPrompt)

    # --- several answers, or none of words

    async def _pass(self, plan: Plan) -> None:
        """One tier answers, and nobody watches it: in doubt beforehand, the most capable one of this machine."""
        tier = plan.decision.tier
        if self._resolved.members[tier].remote is not None or (plan.decision.watch and plan.mode != "fast"):
            tier = self._resolved.local[-1]
        began = time.monotonic()
        async with self._open(tier, self._call.requests) as generation:
            self._current = generation
            open_requests = {request.id for request in self._call.requests}
            while open_requests:
                await self._keeps_up.wait()
                item = await generation.get()
                self.info, self.load_ms = generation.info, generation.load_ms
                if isinstance(item, Failed):
                    raise errors.FiresideError.from_dict(item.error)
                if isinstance(item, Finished):
                    open_requests.discard(item.request_id)
                    self._seconds = {self._name(tier): time.monotonic() - began}
                    route = self._route(plan, tier, item.timings, escalated=False, n_given=0)
                    item = replace(item, timings=replace(item.timings, route=route))
                self._inbox.put(item)

    # --- one answer

    async def _answer(self, plan: Plan) -> None:
        tier = plan.decision.tier
        watched = plan.decision.watch
        request = self._prepared(self._call.requests[0], tier, plan, None)
        escalated = False
        before: _Stage | None = None
        while True:
            stage = _Stage(tier)
            failed = await self._stage(stage, request, plan, watch=watched and tier < self._resolved.roster.top)
            if failed is None and not stage.in_doubt:
                break
            if failed is not None:
                tier = self._fallback(tier, failed)
                watched = False
            else:
                self._doubt = max(stage.doubt.value, self._doubt or 0.0)
                tier, escalated = tier + 1, True
            before = stage
            request = self._prepared(self._call.requests[0], tier, plan, before)
        if stage.tier < self._resolved.roster.top and stage.doubt.n:
            self._doubt = max(stage.doubt.end(), self._doubt or 0.0)
        self._finish(plan, stage, before, escalated=escalated)

    def _fallback(self, tier: int, failed: errors.FiresideError) -> int:
        """The tier that goes on where a remote one failed. Raises what failed where the settings want that."""
        remote = self._resolved.members[tier].remote
        if remote is None or remote.on_failure == "fail":
            raise failed
        what = failed.message.rstrip(".")
        self._notes.append(f"{what[:1].lower()}{what[1:]}, so {self._name(self._resolved.local[-1])} went on")
        return self._resolved.local[-1]

    def _prepared(self, asked: Request, tier: int, plan: Plan, before: _Stage | None) -> Request:
        """The request as this tier gets it."""
        top = self._resolved.roster.top
        is_local = self._resolved.members[tier].remote is None
        request = asked
        if tier < top:
            wanted = max(asked.sampling.logprobs or 0, ALTERNATIVES)
            request = replace(request, sampling=replace(asked.sampling, logprobs=wanted))
        if tier == top and is_local:
            request = replace(request, tolerance=plan.tolerance_on_drafts)
        if before is None:
            return request
        if self._n_shown and request.max_tokens is not None:
            request = replace(request, max_tokens=max(1, request.max_tokens - self._n_shown))
        request = replace(request, begun="".join(self._shown))
        if plan.escalate == "regenerate":
            return request
        end = before.finished
        ended = end is not None and end.reason is FinishReason.STOP and end.stop_string is None
        return replace(request, proposed=before.text, proposed_ended=ended, tolerance=plan.decision.tolerance)

    async def _stage(self, stage: _Stage, request: Request, plan: Plan, *, watch: bool) -> errors.FiresideError | None:
        """Let a tier write until it ends or is in doubt. Returns the error of a tier elsewhere; raises all others."""
        began = time.monotonic()
        name, is_remote = self._name(stage.tier), self._resolved.members[stage.tier].remote is not None
        threshold = plan.decision.threshold
        try:
            async with self._open(stage.tier, [request]) as generation:
                self._current = generation
                while stage.finished is None and not stage.in_doubt:
                    await self._keeps_up.wait()
                    item = await generation.get()
                    if isinstance(item, Failed):
                        error = errors.FiresideError.from_dict(item.error)
                        if is_remote and isinstance(error, errors.NoConnection):
                            return error
                        raise error
                    self._heed(stage, generation, item, plan, threshold if watch else None)
                if stage.finished is not None:
                    self._router.measured(name, stage.finished.timings, generation.load_ms)
                self.load_ms += generation.load_ms
            return None
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - began

    def _heed(self, stage: _Stage, generation: Answering, item: Item, plan: Plan, threshold: float | None) -> None:
        """threshold: of doubt, above which the stage ends; None where it is not watched."""
        match item:
            case Started():
                stage.started = item
            case Delta():
                stage.n += item.n_tokens
                judged = [stage.doubt.push(entry) for entry in item.logprobs]
                stage.held.append(self._as_asked(item))
                if threshold is None:
                    self._show(stage, generation)
                elif any(judged):
                    stage.in_doubt = stage.doubt.value > threshold
                    if not stage.in_doubt and self._may_show(stage.tier, plan):
                        self._show(stage, generation)
            case Finished():
                stage.finished = item
                stage.in_doubt = threshold is not None and stage.doubt.end() > threshold
                if not stage.in_doubt:
                    self._show(stage, generation)
            case Progress():
                if self._first is None:
                    self._inbox.put(item)
            case _:
                self._inbox.put(item)

    def _may_show(self, tier: int, plan: Plan) -> bool:
        """What is shown stays, so that the next tier must be able to go on from it."""
        asked = self._call.requests[0]
        next_is_local = self._resolved.members[tier + 1].remote is None
        is_free = asked.constraint is None and not (isinstance(asked.prompt, ChatPrompt) and asked.prompt.tools)
        return self._call.stream and next_is_local and is_free and plan.escalate == "verify"

    def _show(self, stage: _Stage, generation: Answering) -> None:
        if stage.held or stage.finished is not None:
            if self._first is None:
                self._first = stage.started or Started(self._call.requests[0].id, 0, 0)
                self.info = generation.info
                self._inbox.put(self._first)
            for delta in stage.held:
                self._shown.append(delta.text)
                self._n_shown += delta.n_tokens
                if delta.text or delta.logprobs:
                    self._inbox.put(delta)
            stage.held.clear()

    def _as_asked(self, delta: Delta) -> Delta:
        """With the log probabilities that the client wants, if any."""
        wanted = self._call.requests[0].sampling.logprobs
        if wanted is None:
            return replace(delta, logprobs=())
        entries: Sequence[TokenLogprob] = [replace(entry, top=entry.top[:wanted]) for entry in delta.logprobs]
        return replace(delta, logprobs=tuple(entries))

    # --- its end

    def _finish(self, plan: Plan, stage: _Stage, before: _Stage | None, *, escalated: bool) -> None:
        end = stage.finished
        assert end is not None  # noqa: S101
        n_given = before.n if before is not None else 0
        n_before = max(0, self._n_shown - stage.n)
        timings = replace(end.timings, predicted_n=end.timings.predicted_n + n_before)
        route = self._route(plan, stage.tier, timings, escalated=escalated, n_given=n_given)
        route["shown_n"] = n_before
        n_prompt = self._first.n_prompt if self._first is not None and self._first.n_prompt else end.n_prompt
        request = self._call.requests[0]
        if isinstance(request.prompt, ChatPrompt):
            has_schema = request.constraint is not None or bool(request.prompt.forced_tools)
            turn = Turn(stage.tier, has_schema, n_prompt + timings.predicted_n)
            self._router.memory.add(self._tenant, self._resolved.roster.identities, request.prompt, turn)
        self._router.engine.shadows.offer(self._resolved, self._call, self._tenant, "".join(self._shown), route)
        self._inbox.put(replace(end, n_prompt=n_prompt, timings=replace(timings, route=route)))

    def _route(self, plan: Plan, tier: int, timings: Timings, *, escalated: bool, n_given: int) -> dict[str, Any]:
        tiers, decision = self._resolved.roster.tiers, plan.decision
        reason = decision.reason
        if escalated:
            how = "wrote it anew"
            if plan.escalate == "verify":
                how = f"kept {timings.kept_n} of its tokens and went on"
            doubt = self._doubt or 0.0
            reason = f"{tiers[decision.tier].name} was in doubt ({doubt:.2f} above {decision.threshold:.2f}): "
            reason += f"{tiers[tier].name} {how}"
            if self._notes:
                reason = f"{tiers[decision.tier].name} was in doubt ({doubt:.2f} above {decision.threshold:.2f})"
        if self._notes:
            reason = "; ".join([reason, *self._notes])
        return {
            "tier": tiers[tier].name,
            "from": tiers[decision.tier].name,
            "mode": plan.mode,
            "reason": f"{reason}.",
            "doubt": None if self._doubt is None else round(self._doubt, 4),
            "threshold": round(decision.threshold, 4),
            "tolerance": round(decision.tolerance, 4),
            "features": plan.features.to_dict(),
            "price": {each.name: cost.to_dict() for each, cost in zip(tiers, plan.prices, strict=True)},
            "expected_n": plan.expected_n,
            "escalated": escalated,
            "given_n": n_given,
            "kept_n": timings.kept_n,
            "deferred_n": timings.deferred_n,
            "predicted_n": timings.predicted_n,
            "seconds": {name: round(seconds, 3) for name, seconds in self._seconds.items()},
            "proof": plan.proof.id if plan.proof is not None else "none",
            "shadowed": False,
        }

    # --- tiers

    def _name(self, tier: int) -> str:
        return self._resolved.roster.tiers[tier].name

    def _open(self, tier: int, requests: Sequence[Request]) -> Answering:
        member, engine, call = self._resolved.members[tier], self._router.engine, self._call
        if member.remote is not None:
            return RemoteGeneration(member.tier.name, member.remote, requests[0], engine.settings.buffer_limit)
        assert member.entry is not None  # noqa: S101
        return engine.generate(
            member.entry,
            requests,
            tenant=self._tenant,
            client=self._client,
            deterministic=call.deterministic,
            draft=call.draft,
            keep_alive=call.keep_alive,
        )
