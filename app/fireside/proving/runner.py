"""Carries a run out: asks, checks and judges what is missing, writes each thing down, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fireside import table
from fireside.client import EngineClient
from fireside.proving import asking, result, testing
from fireside.proving.arms import TOLERANCE, Arm, Mode, Tier, of_mode, of_tier
from fireside.proving.checks import Check
from fireside.proving.energy import Meter
from fireside.proving.evidence import AUDIT_ARM, Planted, Stage, Todo, plant
from fireside.proving.idling import Idle
from fireside.proving.items import Item
from fireside.proving.result import ArmResult, Result
from fireside.proving.sampling import half_of
from fireside.proving.store import Checked, Run
from fireside.proving.thresholds import Choice, Replay, choose
from fireside.terminal import Narrator

FAST_DISCOUNT = 0.1
"""`fast` may be so much worse than the floor of `balanced`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown."""

    tiers: Sequence[Tier]
    """From the cheapest to the most capable."""
    modes: Sequence[Mode]
    """Empty where the engine does not route."""
    routed: bool
    """Whether the engine knows `auto`."""
    floor: float
    minutes: float | None = None
    """Stop after so many; what is missing is done the next time."""


class OutOfTime(Exception):
    """The minutes of this call are over."""


class Prover:
    def __init__(self, client: EngineClient, run: Run, plan: Plan, narrator: Narrator, idle: Idle) -> None:
        self._client, self._run, self._plan, self._narrator, self._idle = client, run, plan, narrator, idle
        self._meter = Meter()
        self._began = time.monotonic()
        self._done = 0
        tiers = [of_tier(tier, routed=plan.routed) for tier in plan.tiers]
        # The base comes first; the most capable tier is what all others are compared with.
        self._tiers: list[Arm] = tiers[::-1]

    @property
    def _base(self) -> Arm:
        return self._tiers[0]

    @property
    def _small(self) -> Arm:
        return self._tiers[-1]

    def work(self) -> None:
        """Do all that is missing. Raises EngineFailure, StoreFailure, OutOfTime; what is done stays done."""
        chosen = half_of(self._run.placed, "chosen")
        self._do(Stage(chosen, lambda _item: self._tiers, len(self._tiers)), "the half for choosing")
        self._audit(chosen)
        choices = self._choices()
        self._do(self._held_stage(choices), "the held-out half")

    def result(self) -> Result:
        """Of what is there, also before all of it is."""
        run, choices = self._run, self._choices()
        everything = [(item, self._small, self._base) for item, _ in run.placed]
        chosen_items, held_items = half_of(run.placed, "chosen"), half_of(run.placed, "held")
        held = [self._line(arm, held_items) for arm in self._tiers[::-1]]
        for mode in self._plan.modes:
            pairs = [(item, arm, self._base) for item in held_items if (arm := self._mode_arm(mode, item, choices))]
            if mode == "exact" or (mode in choices and choices[mode].is_made):
                held.append(result.arm_result(mode, pairs, run, self._plan.tiers[-1].name))
        return Result(
            tiers=self._plan.tiers,
            chosen=[self._line(arm, chosen_items) for arm in self._tiers[::-1]],
            held=held,
            kinds=result.by_kind(everything, run),
            choices=choices,
            replays=self._replays(),
            floor=self._plan.floor,
            bias=result.bias_of(everything, run),
            audit=result.audit_of(run),
            examples=result.examples_of(everything, run),
            energy=self._meter.why_not,
            withdrawn=_withdrawn(held, choices, self._plan.floor),
            n_prompts=len(run.placed),
        )

    def _line(self, arm: Arm, items: Sequence[Item]) -> ArmResult:
        pairs = [(item, arm, self._base) for item in items]
        return result.arm_result(arm.label, pairs, self._run, self._plan.tiers[-1].name)

    def _replays(self) -> list[Replay]:
        pairs = [(item, self._small, self._base) for item in half_of(self._run.placed, "chosen")]
        return result.replays_of(pairs, self._run)

    def _choices(self) -> dict[str, Choice]:
        """Thresholds by mode; depends on the rows of the chosen half alone."""
        replays = self._replays()
        return {mode: choose(replays, floor_of(mode, self._plan.floor)) for mode in self._plan.modes if mode != "exact"}

    def _held_stage(self, choices: dict[str, Choice]) -> Stage:
        modes = [mode for mode in self._plan.modes if mode == "exact" or choices[mode].is_made]

        def arms(item: Item) -> list[Arm]:
            found = [self._mode_arm(mode, item, choices) for mode in modes]
            return [*self._tiers, *(arm for arm in found if arm is not None)]

        return Stage(half_of(self._run.placed, "held"), arms, len(self._tiers) + len(modes))

    def _mode_arm(self, mode: Mode, item: Item, choices: dict[str, Choice]) -> Arm | None:
        """None until the engine has said of which kind it takes the prompt to be."""
        if mode == "exact":
            return of_mode(mode, "", {}, 0.0)
        small = self._run.answers.get((item.id, self._small.key))
        if small is None or not choices[mode].is_made:
            return None
        return of_mode(mode, small.kind or item.kind, choices[mode].kinds, TOLERANCE[mode])

    def _do(self, stage: Stage, words: str) -> None:
        there, total = stage.count(self._run)
        for todo in stage.todos(self._run):
            self._in_time()
            self._say(todo, f"{words}: {there} of {total} answers", total - there)
            self._undisturbed(todo)
            there += todo.what == "answer"

    def _undisturbed(self, todo: Todo) -> None:
        while True:
            self._idle.wait(self._narrator.status)
            try:
                return self._carry_out(todo)
            except asking.Disturbed:
                continue

    def _carry_out(self, todo: Todo) -> None:
        item, arm, run = todo.item, todo.arm, self._run
        if todo.what == "answer":
            body = arm.body(item.body)
            run.add_answer(item.id, arm.key, asking.ask(self._client, body, self._meter, self._idle.is_disturbed))
            self._done += 1
        elif todo.what == "check":
            check = item.parsed_check
            if check is not None:
                run.add_check(item.id, arm.key, self._checked(check, run.answers[item.id, arm.key].text))
        elif todo.base is not None:
            texts = [run.answers[item.id, key].text for key in (arm.key, todo.base.key)]
            self._vote(item, arm.key, texts[0], texts[1], swapped=todo.swapped)

    @staticmethod
    def _checked(check: Check, text: str) -> Checked:
        verdict = testing.judge(check, text)
        return Checked(verdict.passed, verdict.why)

    def _vote(self, item: Item, arm: str, mine: str, other: str, *, swapped: bool) -> None:
        first, second = (other, mine) if swapped else (mine, other)
        vote = asking.vote(self._client, self._plan.tiers[-1].name, item.question, first, second)
        self._run.add_vote(item.id, arm, swapped, vote)

    def _audit(self, items: Sequence[Item]) -> None:
        """Ask the judge about answers to other questions, so that its word has a measure."""
        for pair in plant(items, self._run, self._base):
            for swapped in (False, True):
                if (pair.item.id, AUDIT_ARM, swapped) not in self._run.votes:
                    self._in_time()
                    self._narrator.status("looking whether the judge can judge")
                    self._idle.wait(self._narrator.status)
                    self._vote_planted(pair, swapped=swapped)

    def _vote_planted(self, pair: Planted, *, swapped: bool) -> None:
        self._vote(pair.item, AUDIT_ARM, pair.bad, pair.good, swapped=swapped)

    def _say(self, todo: Todo, words: str, left: int) -> None:
        line = f"{words}; {todo.item.kind}, {todo.arm.label}"
        if self._done >= 5:
            line += f"; about {table.duration((time.monotonic() - self._began) / self._done * left)} left"
        self._narrator.status(line)

    def _in_time(self) -> None:
        limit = self._plan.minutes
        if limit is not None and time.monotonic() - self._began > 60 * limit:
            raise OutOfTime


def floor_of(mode: str, floor: float) -> float:
    return floor if mode == "balanced" else max(0.0, floor - FAST_DISCOUNT)


def _withdrawn(held: Sequence[ArmResult], choices: dict[str, Choice], floor: float) -> dict[str, str]:
    """Modes whose held-out half does not bear the choice out, or is not there yet."""
    found = {}
    lines = {arm.label: arm for arm in held}
    for mode, choice in choices.items():
        arm = lines.get(mode)
        if not choice.is_made or arm is None:
            continue
        quality, wanted = arm.tally.quality(), floor_of(mode, floor)
        if arm.tally.n < arm.n or arm.n == 0 or arm.n < next(iter(held)).n:
            found[mode] = "its held-out half is not complete"
        elif quality.value < wanted:
            found[mode] = f"on the held-out half its quality is {quality.value:.2f}, below the floor of {wanted:.2f}"
    return found
