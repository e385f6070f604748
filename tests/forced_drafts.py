"""A loaded model that speculates whenever anything can be drafted, and is often wrong: for proofs that drafts change
nothing but the time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fireside_engine.core.events import Finished
from fireside_engine.core.request import Prompt, Request, SamplingParams
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.core.slot import Slot
from fireside_engine.core.speculation.costs import Costs
from fireside_engine.core.speculation.drafting import ModelDrafting, Outlook
from fireside_engine.core.speculation.ledger import Ledger
from fireside_engine.core.speculation.speculator import Plan, Speculator
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.loading import Ready, load
from fireside_engine.worker.protocol import LoadOptions


class Free(Costs):
    """Every batch costs a step, so that whatever can be drafted is."""

    def ratio(self, depth: int, streams: int, rows: int) -> float:
        return 1.0


class Eager(ModelDrafting):
    """Always wants four tokens."""

    def look(self, ratio: Any, *rows: int) -> Outlook | None:
        return Outlook(min(4, rows[-1] - 1), 99.0, 0.0) if rows[-1] > 1 else None


class Rich(Ledger):
    def allows(self, *loss: float) -> bool:
        return True


class Lying(Speculator):
    """Every fifth drafted token that is not forced becomes another one, so that drafts of every source are refused."""

    lies = 0
    _turn = 0

    def plan(self, running: Sequence[Slot], width: int) -> Plan:
        plan = super().plan(running, width)
        for draft in plan.drafts.values():
            for i in range(draft.certain, len(draft.tokens)):
                self._turn += 1
                if self._turn % 5 == 0:
                    draft.tokens[i] = draft.tokens[i] % 250 + 1
                    self.lies += 1
        return plan


class Forced:
    """One loaded model. `answer` asks it alone, `answers` several together."""

    def __init__(
        self,
        path: Path,
        home: Path,
        *,
        draft: Path | None = None,
        deterministic: bool = True,
        n_ctx: int = 1024,
        n_slots: int = 2,
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESIDE_HOME", str(home))
            options = LoadOptions(
                n_ctx=n_ctx,
                n_slots=n_slots,
                deterministic=deterministic,
                cache=False,
                draft=str(draft) if draft else "off",
            )
            self.ready: Ready = load(path, options, lambda stage, fraction: None)
        self.runner = LlamaRunner(self.ready.context, drafter=self.ready.pair.drafter)
        self.lies = False
        self.model_drafts = True
        """The draft model is asked, where there is one."""

    def speculator(self) -> Speculator:
        limits = self.ready.speculator.limits
        if not self.model_drafts:
            limits = replace(limits, draft_size=0.0)
        speculator = (Lying if self.lies else Speculator)(limits, {1: 0.01})
        speculator.costs, speculator.ledger = Free({1: 0.01}), Rich()
        if speculator.model is not None:
            speculator.model = Eager(0.0)
        return speculator

    def answer(self, prompt: Prompt, *, drafts: bool, n: int = 96, **more: Any) -> tuple[str, Any]:
        """Its text with all log probabilities, and its timings."""
        params = more.pop("params", SamplingParams(temperature=0))
        request = Request("r", prompt, params, max_tokens=n, speculate=drafts, **more)
        return self.answers([request])["r"]

    def answers(self, requests: Sequence[Request]) -> Mapping[str, tuple[str, Any]]:
        """The same of each, by its id."""
        scheduler = Scheduler(self.ready.rules, self.speculator())
        self.ready.context.clear()
        for request in requests:
            scheduler.submit(self.ready.preparer.prepare(request))
        texts = {request.id: "" for request in requests}
        logprobs: dict[str, list[Any]] = {request.id: [] for request in requests}
        ends: dict[str, Finished] = {}
        while step := scheduler.schedule(time.perf_counter()):
            for event in scheduler.drain() + scheduler.commit(step, self.runner.execute(step)):
                texts[event.request_id] += getattr(event, "text", "")
                logprobs[event.request_id] += getattr(event, "logprobs", ())
                if isinstance(event, Finished):
                    ends[event.request_id] = event
                    assert event.exact == self.ready.info.deterministic
        assert ends.keys() == texts.keys(), "a request did not end well"
        return {name: (texts[name] + repr(logprobs[name]), ends[name].timings) for name in texts}
