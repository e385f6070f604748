"""How one file is loaded on a machine: context, slots, KV type and placement. Pure.

A plan has as long a context as fits, up to the target; then speed, up to the target; then KV in f16; then more slots;
then speed. KV in q8_0 is taken where it buys context. Which of several files is taken is decided in `choice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fireside_engine.core.driving import BATCH, SLOTS
from fireside_engine.core.footprint import HOST, Footprint, Setup, merge
from fireside_engine.core.machine import MIB, Machine, shortages
from fireside_engine.core.placement import ContextCost, Costs, footprint, process_bytes
from fireside_engine.core.quality import Quality
from fireside_engine.core.shape import Shape, padded
from fireside_engine.core.speculation.matching import MAX_DRAFT
from fireside_engine.core.speed import Book, Speed, predict

CONTEXT = 16384
"""Tokens of a conversation that a plan aims at."""
LEAST_CONTEXT = 1024
KV_SHARE = 4
"""Slots beyond the first may take this part of what is free after all else."""
SPEED = 15.0
"""Tokens a second that a plan aims at: faster than most people read."""
DRAFT_BATCH = 256
"""Longest piece of a prompt that a draft model reads at once."""
_STEP = 1.25
"""Speeds within this ratio count as equal."""
_LADDER = (1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for; what is None is chosen."""

    n_ctx: int | None = None
    n_slots: int | None = None
    kv_type: str | None = None
    deterministic: bool = False
    speed: float = SPEED
    n_outputs: int = MAX_DRAFT + 1
    n_batch: int = BATCH

    @property
    def types(self) -> tuple[str, str] | None:
        """Of K and V, where they are not to be chosen."""
        if self.kv_type in ("q8_0", "bf16"):
            return self.kv_type, self.kv_type
        if self.deterministic:
            # A pair that takes none of the paths of attention whose sums depend on more than the token.
            return "f16", "bf16"
        return ("f16", "f16") if self.kv_type else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that could be loaded."""

    name: str
    quant: str
    file: str
    """Its identity, for what was learned of it."""
    size: int
    """Bytes on disk."""
    shape: Shape
    quality: Quality
    available: bool = True
    """It lies on this machine."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to load a file that fits."""

    setup: Setup
    footprint: Footprint
    speed: Speed
    draft: str = ""
    """The model that drafts for it; its bytes are counted in the footprint."""

    @property
    def kv(self) -> str:
        setup = self.setup
        return setup.type_k if setup.type_k == setup.type_v else f"{setup.type_k}/{setup.type_v}"


def reason(plan: Plan, candidate: Candidate, wish: Wish) -> str:
    """Why a file is loaded so, in one sentence."""
    setup, target = plan.setup, target_context(candidate.shape, wish)
    if setup.n_ctx < target:
        what = f"memory holds {setup.n_ctx:,} of {target:,} tokens of context"
    elif wish.n_ctx:
        what = f"{setup.n_ctx:,} tokens of context were asked for"
    elif setup.n_ctx == padded(candidate.shape.n_ctx_train):
        what = f"the model was trained for {setup.n_ctx:,} tokens"
    else:
        what = f"{setup.n_ctx:,} tokens of context are enough for most conversations, and fit"
    if setup.type_k == "q8_0" and wish.types is None:
        what += ", with KV in q8_0 because f16 would leave less"
    if wish.n_slots is None and setup.n_slots < SLOTS:
        what += f", with {setup.n_slots} of {SLOTS} slots because the others would take too much"
    if setup.cpu_experts:
        what += f", with the experts of {setup.cpu_experts} layers in main memory"
    elif setup.gpu_layers > 0:
        what += f", with {setup.gpu_layers} of {candidate.shape.n_layer + 1} layers on graphics"
    return f"{what[:1].upper()}{what[1:]}."


def target_context(shape: Shape, wish: Wish) -> int:
    """Tokens to aim at: what was asked for, never more than the model was trained for."""
    wanted = wish.n_ctx or CONTEXT
    return padded(max(256, min(wanted, shape.n_ctx_train) if shape.n_ctx_train else wanted))


def rungs(shape: Shape, wish: Wish) -> list[Setup]:
    """Contexts from the smallest to the largest: each has no shorter context, no coarser KV and no fewer slots."""
    target = target_context(shape, wish)
    lengths = [target] if wish.n_ctx else [n for n in _LADDER if LEAST_CONTEXT <= n < target] + [target]
    asked = wish.types
    if asked is not None and asked[0] != asked[1] and shape.is_latent:
        # What such a model keeps is K and V at once, so llama.cpp takes one type only.
        asked = ("bf16", "bf16")
    coarse = asked or ("q8_0", "q8_0")
    fine = asked or ("f16", "f16")
    slots = wish.n_slots or 1

    def setup(n_ctx: int, n_slots: int, types: tuple[str, str]) -> Setup:
        outputs = max(wish.n_outputs, n_slots)
        # Where a text must depend on the request alone, windows have room for everything (worker/loading.py).
        full = wish.deterministic and shape.n_swa > 0
        return Setup(n_ctx, n_slots, *types, n_batch=wish.n_batch, n_outputs=outputs, swa_full=full)

    ladder = [setup(n, slots, coarse) for n in lengths]
    if fine != coarse:
        ladder.append(setup(target, slots, fine))
    if wish.n_slots is None:
        ladder += [setup(target, n, fine) for n in (2, SLOTS)]
    return ladder


def plan_for(
    candidate: Candidate,
    machine: Machine,
    wish: Wish,
    costs: Costs,
    book: Book,
    overhead: int = 0,
    draft: Candidate | None = None,
) -> Plan | None:
    """The best way to load a file; None when it fits in no way.

    draft: a model that is to draft for it, loaded besides, for the same conversations.
    """
    best: Plan | None = None
    for rung in rungs(candidate.shape, wish):
        cost = costs(candidate.shape, rung)
        for setup in _placements(candidate.shape, rung, cost, machine, overhead):
            found = _plan(candidate, setup, cost, machine, book, overhead)
            if draft is not None:
                found = replace(found, footprint=_with_draft(found, draft, costs, machine), draft=draft.name)
            affordable = wish.n_slots is not None or _slots_are_cheap(cost, found.footprint, rung, machine)
            if (
                affordable
                and not shortages(machine, found.footprint)
                and (best is None or _worth(found, candidate, wish) > _worth(best, candidate, wish))
            ):
                best = found
    return best


def forced_plan(
    candidate: Candidate, machine: Machine, wish: Wish, costs: Costs, book: Book, overhead: int = 0
) -> Plan:
    """The plan of somebody who wants it whatever it takes: the smallest of what was asked for, in main memory where no
    placement fits."""
    fitting = plan_for(candidate, machine, wish, costs, book, overhead)
    if fitting is not None:
        return fitting
    rung = rungs(candidate.shape, wish)[0]
    return _plan(candidate, rung, costs(candidate.shape, rung), machine, book, overhead)


def lower(candidate: Candidate, plan: Plan, machine: Machine, wish: Wish, costs: Costs, book: Book) -> Plan | None:
    """The next smaller plan, for when an allocation failed although this one should have fitted; None at the end."""
    ladder = rungs(candidate.shape, replace(wish, n_ctx=None, n_slots=None, kv_type=wish.kv_type))
    current = plan.footprint.total
    for rung in reversed(ladder):
        setup = replace(rung, gpu_layers=plan.setup.gpu_layers, cpu_experts=plan.setup.cpu_experts)
        found = _plan(candidate, setup, costs(candidate.shape, setup), machine, book, 0)
        if setup.n_ctx <= plan.setup.n_ctx and found.footprint.total < current - 16 * MIB:
            return found
    if plan.setup.gpu_layers:
        setup = replace(plan.setup, gpu_layers=0, cpu_experts=0)
        return _plan(candidate, setup, costs(candidate.shape, setup), machine, book, 0)
    return None


def _plan(candidate: Candidate, setup: Setup, cost: ContextCost, machine: Machine, book: Book, overhead: int) -> Plan:
    taken = footprint(candidate.shape, setup, cost, machine, overhead)
    return Plan(setup, taken, predict(candidate.shape, setup, candidate.quant, candidate.file, machine, book))


def draft_setup(setup: Setup) -> Setup:
    """The context of a draft model beside one of its target: it drafts for one conversation at a time, and its KV is
    worth no saving (llama/drafter.py)."""
    return Setup(setup.n_ctx, n_batch=DRAFT_BATCH, n_outputs=1)


def _with_draft(plan: Plan, draft: Candidate, costs: Costs, machine: Machine) -> Footprint:
    """The draft model lies where the layers of its target do: a bus between them would cost what drafts save."""
    setup = replace(draft_setup(plan.setup), gpu_layers=-1 if plan.setup.gpu_layers else 0)
    own = footprint(draft.shape, setup, costs(draft.shape, setup), machine)
    vocabulary = process_bytes(draft.shape) - process_bytes(replace(draft.shape, n_vocab=0))
    taken = plan.footprint
    exact = taken.exact and own.exact
    return Footprint(merge([*taken.devices, *own.devices]), taken.process + vocabulary, exact)


def _placements(shape: Shape, rung: Setup, cost: ContextCost, machine: Machine, overhead: int) -> list[Setup]:
    """Ways to divide a model between GPUs and main memory, each with as much on the GPUs as they hold."""
    if not machine.gpus:
        return [rung]

    def gpus_hold(setup: Setup) -> bool:
        short = shortages(machine, footprint(shape, setup, cost, machine, overhead))
        return all(shortage.pool == HOST for shortage in short)

    full = replace(rung, gpu_layers=-1)
    if gpus_hold(full):
        return [full, rung]
    found = [rung]
    if shape.is_moe:
        kept = _first(1, shape.n_layer, lambda n: gpus_hold(replace(full, cpu_experts=n)))
        if kept is not None:
            found.append(replace(full, cpu_experts=kept))
    left_out = _first(1, shape.n_layer, lambda n: gpus_hold(replace(rung, gpu_layers=shape.n_layer + 1 - n)))
    if left_out is not None:
        found.append(replace(rung, gpu_layers=shape.n_layer + 1 - left_out))
    return found


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number for which something holds that, once it does, goes on holding."""
    if high < low or not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _slots_are_cheap(cost: ContextCost, taken: Footprint, rung: Setup, machine: Machine) -> bool:
    """Conversations beyond the first are a convenience: they get a part of what would stay free without them."""
    if rung.n_slots == 1:
        return True
    extra = cost.kv * (rung.n_slots - 1) // rung.n_slots
    budget = sum(pool.budget for pool in machine.pools if taken.on(pool.name).kv)
    return extra <= max(0, budget - (taken.total - extra)) // KV_SHARE


def speed_step(speed: float, target: float = math.inf) -> int:
    """Speeds that count as equal have one number; what is above the target counts as the target."""
    return round(math.log(max(0.01, min(speed, target))) / math.log(_STEP))


def _worth(plan: Plan, candidate: Candidate, wish: Wish) -> tuple[float, ...]:
    setup, speed = plan.setup, plan.speed.expected
    return (
        min(setup.n_ctx, target_context(candidate.shape, wish)),
        speed_step(speed, wish.speed),
        setup.type_k != "q8_0",
        setup.n_slots,
        speed,
    )
