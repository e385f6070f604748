"""The rule that chooses quantization, context and placement, on machines that are only imagined."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.choice import Choice, Row, assess, choose
from fireside_engine.core.fit import (
    CONTEXT,
    Candidate,
    Plan,
    Wish,
    forced_plan,
    lower,
    plan_for,
    reason,
    rungs,
    speed_step,
    target_context,
)
from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import GIB, MIB, Machine, Pool, keep_of_gpu, keep_of_host, shortages
from fireside_engine.core.placement import closed_form, footprint
from fireside_engine.core.quality import BITS, CLASS_KLD, class_quality
from fireside_engine.core.refusal import refuse
from fireside_engine.core.shape import Layer, Shape
from fireside_engine.core.speed import Book, Rate

GOLDEN = Path(__file__).parent / "data" / "plans.json"


def shape(quant: str, params: float, n_layer: int, width: int, *, experts: float = 0.0, n_ctx: int = 40960) -> Shape:
    """A model of so many parameters, a part of them in experts, of which an eighth computes a token."""
    weights = params * BITS[quant] / 8
    per_layer = weights * 0.94 / n_layer
    layer = Layer(int(per_layer * (1 - experts)), int(per_layer * experts), width, width)
    rest = int(weights * 0.03)
    return Shape(
        "test",
        (layer,) * n_layer,
        embedding=rest,
        output=rest,
        tied=False,
        n_ctx_train=n_ctx,
        n_vocab=150_000,
        n_embd=4096,
        n_ff=12288,
        n_params=int(params),
        n_experts=64 if experts else 0,
        n_experts_used=8 if experts else 0,
    )


MODELS = {
    "small-0.5b": (0.5e9, 24, 128, 0.0),
    "dense-8b": (8e9, 32, 1024, 0.0),
    "dense-32b": (32e9, 64, 1024, 0.0),
    "experts-30b": (30e9, 48, 512, 0.9),
    "dense-70b": (70e9, 80, 1024, 0.0),
}
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "IQ3_XXS", "IQ2_M")


def candidate(model: str, quant: str) -> Candidate:
    params, n_layer, width, experts = MODELS[model]
    own = shape(quant, params, n_layer, width, experts=experts)
    quality = class_quality(quant, params, moe=bool(experts))
    return Candidate(f"{model}-{quant}", quant, f"{model}-{quant}", own.weights, own, quality)


def host(total: float, free: float | None = None, *, contained: bool = False, bandwidth: float = 40e9) -> Pool:
    size = int(total * GIB)
    return Pool(
        HOST, "host", size, size if free is None else int(free * GIB), keep_of_host(size, contained=contained),
        bandwidth=bandwidth,
    )  # fmt: skip


def gpu(total: float, *, name: str = "CUDA0", bandwidth: float = 400e9) -> Pool:
    size = int(total * GIB)
    return Pool(name, "gpu", size, size, keep_of_gpu(size), bandwidth=bandwidth)


def unified(total: float) -> Machine:
    pool = host(total, bandwidth=100e9)
    metal = Pool("Metal", "unified", int(pool.total * 0.75), int(pool.total * 0.75), 0, bandwidth=100e9)
    return Machine(pool, (metal,), n_threads=8)


MACHINES = {
    "container-2": Machine(host(2, contained=True), n_threads=2),
    "laptop-8": Machine(host(8, 5), n_threads=4),
    "laptop-16": Machine(host(16, 12), n_threads=8),
    "desktop-32": Machine(host(32, 28), n_threads=8),
    "gaming-12": Machine(host(32, 27), (gpu(12),), n_threads=8),
    "gaming-24": Machine(host(64, 58), (gpu(24, bandwidth=900e9),), n_threads=12),
    "mac-36": unified(36),
    "two-cards": Machine(host(64, 58), (gpu(24), gpu(24, name="CUDA1")), n_threads=16),
}


def decide(model: str, machine: Machine, wish: Wish | None = None, quants: tuple[str, ...] = QUANTS) -> Choice:
    wish = wish or Wish()
    rows = [assess(candidate(model, quant), machine, wish, closed_form, Book()) for quant in quants]
    return choose(rows, wish)


def described(choice: Choice) -> dict[str, Any]:
    """What a stored decision is compared by."""
    pick = choice.pick
    if pick is None or pick.plan is None:
        return {"pick": None}
    setup = pick.plan.setup
    return {
        "pick": pick.candidate.quant,
        "n_ctx": setup.n_ctx,
        "kv": pick.plan.kv,
        "slots": setup.n_slots,
        "gpu_layers": setup.gpu_layers,
        "cpu_experts": setup.cpu_experts,
        "speed": round(pick.plan.speed.tokens_per_second, 1),
        "reason": choice.reason,
    }


@pytest.mark.parametrize(("model", "machine"), list(itertools.product(MODELS, MACHINES)))
def test_decisions_are_those_that_were_looked_at_once(model: str, machine: str) -> None:
    """40 pairs. After a wanted change of the rule: run this file as a program, and look at what it wrote."""
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert described(decide(model, MACHINES[machine])) == stored[f"{model} on {machine}"]


def write_golden() -> None:
    decisions = {
        f"{model} on {name}": described(decide(model, MACHINES[name])) for model in MODELS for name in MACHINES
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(decisions, indent=1) + "\n", encoding="utf-8")


models = st.sampled_from(sorted(MODELS))
sizes = st.integers(256, 96 * 1024)


def of_size(host_mib: int, gpu_mib: int = 0) -> Machine:
    """Free bytes alone decide; what is kept does not depend on them."""
    main = Pool(HOST, "host", 128 * GIB, host_mib * MIB, 0, bandwidth=40e9)
    card = Pool("CUDA0", "gpu", 128 * GIB, gpu_mib * MIB, 0, bandwidth=400e9)
    return Machine(main, (card,) if gpu_mib else (), n_threads=8)


def worth(choice: Choice) -> tuple[float, ...]:
    """Context, speed up to the target, band: in the order of the rule."""
    if choice.pick is None or choice.pick.plan is None:
        return (-1.0, -1.0, -99.0)
    plan = choice.pick.plan
    step = speed_step(plan.speed.tokens_per_second, Wish().speed)
    return (plan.setup.n_ctx, step, -choice.pick.candidate.quality.rank)


@settings(max_examples=50, deadline=None)
@given(models, sizes, sizes)
def test_more_memory_never_means_less_of_anything(model: str, one: int, other: int) -> None:
    """Main memory alone: neither a lower band, nor a shorter context, nor less speed up to the target."""
    small, large = (decide(model, of_size(size)) for size in sorted((one, other)))
    assert all(a <= b for a, b in zip(worth(small), worth(large), strict=True)), (worth(small), worth(large))


@settings(max_examples=40, deadline=None)
@given(models, sizes, sizes, st.integers(0, 48 * 1024), st.integers(0, 16 * 1024))
def test_with_graphics_more_memory_never_means_a_worse_plan(
    model: str, one: int, other: int, card: int, more: int
) -> None:
    """Context may be bought with speed here, so plans are compared in the order of the rule."""
    low, high = sorted((one, other))
    small, large = decide(model, of_size(low, card)), decide(model, of_size(high, card + more if card else 0))
    if small.pick is not None and _reaches_target(small):
        assert large.pick is not None
        assert worth(large)[0] >= worth(small)[0]
        assert worth(large)[1] >= worth(small)[1]
    assert worth(large)[0] >= worth(small)[0]


def _reaches_target(choice: Choice) -> bool:
    assert choice.pick is not None
    assert choice.pick.plan is not None
    return choice.pick.plan.setup.n_ctx >= target_context(choice.pick.candidate.shape, Wish())


@settings(max_examples=50, deadline=None)
@given(models, st.sampled_from(QUANTS), sizes, sizes, st.booleans())
def test_a_file_gets_no_less_on_a_larger_machine(model: str, quant: str, one: int, other: int, exact: bool) -> None:
    own, wish = candidate(model, quant), Wish(deterministic=exact)
    small, large = (plan_for(own, of_size(size), wish, closed_form, Book()) for size in sorted((one, other)))
    if small is None:
        return
    assert large is not None
    assert large.setup.n_ctx >= small.setup.n_ctx
    assert large.setup.n_slots >= small.setup.n_slots
    assert (large.setup.type_k != "q8_0") >= (small.setup.type_k != "q8_0")


@settings(max_examples=50, deadline=None)
@given(models, st.sampled_from(QUANTS), sizes, st.integers(0, 48 * 1024))
def test_a_plan_fits_the_machine_it_was_made_for(model: str, quant: str, size: int, card: int) -> None:
    own, machine = candidate(model, quant), of_size(size, card)
    plan = plan_for(own, machine, Wish(), closed_form, Book())
    if plan is not None:
        assert not shortages(machine, plan.footprint)
        assert sum(part.weights for part in plan.footprint.devices) == own.shape.weights
        assert sum(part.kv for part in plan.footprint.devices) == closed_form(own.shape, plan.setup).kv
    else:
        assert assess(own, machine, Wish(), closed_form, Book()).short


@settings(max_examples=50, deadline=None)
@given(models, st.integers(0, 100), st.integers(0, 100))
def test_every_byte_of_the_weights_lies_somewhere_once(model: str, layers: int, experts: int) -> None:
    own = candidate(model, "Q4_K_M").shape
    rung = replace(
        rungs(own, Wish())[0], gpu_layers=min(layers, own.n_layer + 1), cpu_experts=min(experts, own.n_layer)
    )
    for machine in (MACHINES["two-cards"], MACHINES["gaming-12"], MACHINES["laptop-8"]):
        taken = footprint(own, rung, closed_form(own, rung), machine)
        assert sum(part.weights for part in taken.devices) == own.weights


def test_what_is_asked_for_is_taken() -> None:
    own = candidate("dense-8b", "Q4_K_M")
    wish = Wish(n_ctx=4096, n_slots=2, kv_type="q8_0")
    plan = plan_for(own, MACHINES["desktop-32"], wish, closed_form, Book())
    assert plan is not None
    setup = plan.setup
    assert (setup.n_ctx, setup.n_slots, setup.type_k, setup.type_v) == (4096, 2, "q8_0", "q8_0")
    deterministic = plan_for(own, MACHINES["desktop-32"], Wish(deterministic=True), closed_form, Book())
    assert deterministic is not None
    assert (deterministic.setup.type_k, deterministic.setup.type_v) == ("f16", "bf16")


def test_every_plan_has_its_reason() -> None:
    own = candidate("dense-8b", "Q4_K_M")

    def why(machine: str, wish: Wish, whom: Candidate = own) -> str:
        plan = plan_for(whom, MACHINES[machine], wish, closed_form, Book())
        assert plan is not None
        return reason(plan, whom, wish)

    assert why("gaming-24", Wish()).startswith("16,384 tokens of context are enough")
    assert "of 4 slots because" in why("laptop-16", Wish())
    assert why("gaming-24", Wish(n_ctx=8192)).startswith("8,192 tokens of context were asked for")
    short = replace(own, shape=replace(own.shape, n_ctx_train=8192))
    assert why("gaming-24", Wish(), short).startswith("The model was trained for 8,192 tokens")
    assert "memory holds" in why("laptop-8", Wish(), candidate("dense-8b", "IQ3_XXS")).casefold()
    assert "the experts of" in why("gaming-12", Wish(), candidate("experts-30b", "Q4_K_M"))


def test_no_context_is_longer_than_the_training() -> None:
    own = replace(candidate("small-0.5b", "Q8_0").shape, n_ctx_train=2048)
    assert target_context(own, Wish()) == 2048
    assert target_context(own, Wish(n_ctx=100_000)) == 2048
    assert target_context(replace(own, n_ctx_train=0), Wish()) == CONTEXT


def test_a_dominated_type_is_taken_only_where_nothing_else_is() -> None:
    machine = MACHINES["desktop-32"]
    both = decide("dense-8b", machine, quants=("Q4_0", "Q3_K_M"))
    assert both.pick is not None
    assert both.pick.candidate.quant == "Q3_K_M"
    alone = decide("dense-8b", machine, quants=("Q4_0",))
    assert alone.pick is not None
    assert alone.pick.candidate.quant == "Q4_0"


def test_a_measurement_goes_before_the_class() -> None:
    """Q4_0 is dominated by its class; measured as better and no slower than what is there, it is the choice."""
    machine, wish = MACHINES["desktop-32"], Wish()
    rows = []
    for quant, kld in (("Q4_K_M", 0.05), ("Q4_0", 0.004)):
        own = candidate("dense-8b", quant)
        own = replace(own, quality=replace(own.quality, kld=kld, measured=True))
        rows.append(assess(own, machine, wish, closed_form, Book()))
    pick = choose(rows, wish).pick
    assert pick is not None
    assert pick.candidate.quant == "Q4_0"


def test_what_drafts_gain_buys_quality() -> None:
    """Quantization and speculation are chosen together: Q8_0 with drafts may be as fast as Q4_K_M without."""
    machine, wish = Machine(host(32 * GIB), n_threads=8), Wish()
    quants = ("Q8_0", "Q4_K_M")

    def picked(book: Book) -> tuple[Row, str]:
        rows = [assess(candidate("dense-8b", quant), machine, wish, closed_form, book) for quant in quants]
        assert all(row.plan is not None for row in rows)
        choice = choose(rows, wish)
        assert choice.pick is not None
        return choice.pick, choice.reason

    slow, _ = picked(Book(bandwidth={HOST: 110e9}))
    assert slow.candidate.quant == "Q4_K_M"
    fast, why = picked(Book(bandwidth={HOST: 110e9}, gains={"": Rate(1.8, 5)}))
    assert fast.candidate.quant == "Q8_0"
    assert "with drafts" in why


def test_experts_stay_in_main_memory_before_layers_do() -> None:
    """A card that holds attention and context of a model of experts, but not the experts."""
    plan = plan_for(candidate("experts-30b", "Q4_K_M"), MACHINES["gaming-12"], Wish(), closed_form, Book())
    assert plan is not None
    assert plan.setup.gpu_layers == -1
    assert 0 < plan.setup.cpu_experts < 48


def test_unified_memory_is_counted_once() -> None:
    """Both limits hold: that of the graphics unit, and that of the memory it shares."""
    machine = unified(16)
    plan = plan_for(candidate("dense-8b", "Q4_K_M"), machine, Wish(), closed_form, Book())
    assert plan is not None
    taken = plan.footprint
    assert taken.need("Metal") <= machine.pool("Metal").budget
    assert taken.need(HOST) + taken.need("Metal") <= machine.host.budget
    crowded = replace(machine, host=replace(machine.host, free=6 * GIB))
    assert any(s.pool == HOST for s in shortages(crowded, plan.footprint))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["dense-8b", "dense-32b", "experts-30b"]), sizes, st.integers(0, 48 * 1024))
def test_a_draft_model_never_costs_context_and_lies_with_its_target(model: str, size: int, card: int) -> None:
    own, machine, small = candidate(model, "Q4_K_M"), of_size(size, card), candidate("small-0.5b", "Q8_0")
    alone = assess(own, machine, Wish(), closed_form, Book()).plan
    both = assess(own, machine, Wish(), closed_form, Book(), draft=small).plan
    if alone is None:
        assert both is None
        return
    assert both is not None
    assert both.setup.n_ctx >= alone.setup.n_ctx
    assert not shortages(machine, both.footprint)
    if both.draft:
        weights = sum(part.weights for part in both.footprint.devices)
        assert weights == own.shape.weights + small.shape.weights
        if both.setup.gpu_layers:
            on_card = both.footprint.on("CUDA0").weights
            assert on_card >= small.shape.weights - small.shape.embedding


def refused(model: str, quant: str, machine: Machine, wish: Wish, others: tuple[str, ...] = ()) -> tuple[str, ...]:
    row: Row = assess(candidate(model, quant), machine, wish, closed_form, Book())
    assert row.plan is None
    found = refuse(row, [candidate(model, other) for other in others], machine, wish, closed_form, Book())
    assert found.missing > 0
    assert len(found.changes) <= 3
    return found.changes


def test_a_refusal_names_the_cheapest_changes_that_work() -> None:
    machine, big = MACHINES["laptop-8"], MACHINES["laptop-16"]
    assert refused("dense-8b", "Q8_0", big, Wish(n_ctx=40960, kv_type="q8_0"))[0].startswith("a context of 32,768")
    assert any("IQ2_M instead of" in change for change in refused("dense-8b", "Q8_0", machine, Wish(), ("IQ2_M",)))
    assert refused("dense-8b", "Q4_K_M", big, Wish(n_ctx=32768, n_slots=4))[0] == "one slot instead of 4"
    assert "KV in q8_0" in refused("dense-8b", "Q8_0", big, Wish(n_ctx=20480, kv_type="f16"))
    hopeless = refused("dense-70b", "Q8_0", machine, Wish())
    assert hopeless == ("a smaller model, or a smaller quantization of this one",)


def test_force_takes_the_smallest_of_what_was_asked_for() -> None:
    own, machine = candidate("dense-70b", "Q8_0"), MACHINES["laptop-8"]
    assert plan_for(own, machine, Wish(), closed_form, Book()) is None
    forced = forced_plan(own, machine, Wish(), closed_form, Book())
    assert forced.setup.n_ctx == 1024
    asked = forced_plan(own, machine, Wish(n_ctx=8192), closed_form, Book())
    assert asked.setup.n_ctx == 8192


@settings(max_examples=50, deadline=None)
@given(models, st.sampled_from(QUANTS), st.sampled_from(sorted(MACHINES)))
def test_stepping_down_takes_less_each_time_and_ends(model: str, quant: str, name: str) -> None:
    own, machine = candidate(model, quant), MACHINES[name]
    plan: Plan | None = forced_plan(own, machine, Wish(), closed_form, Book())
    steps = 0
    while plan is not None:
        following = lower(own, plan, machine, Wish(), closed_form, Book())
        if following is not None:
            assert following.setup.n_ctx <= plan.setup.n_ctx
            on_host = following.setup.gpu_layers == 0 and plan.setup.gpu_layers != 0
            assert on_host or following.footprint.total < plan.footprint.total
        plan, steps = following, steps + 1
    assert steps < 40


def test_classes_of_quality_rise_with_bits() -> None:
    ordered = sorted(CLASS_KLD, key=lambda quant: CLASS_KLD[quant])
    for quant, other in itertools.pairwise(ordered):
        assert class_quality(quant, 8e9).kld <= class_quality(other, 8e9).kld
    assert class_quality("Q4_K_M", 27e9).kld < class_quality("Q4_K_M", 8e9).kld < class_quality("Q4_K_M", 1e9).kld
    assert class_quality("IQ3_S", 8e9).kld == pytest.approx(0.12, rel=0.5)
    assert class_quality("MXFP4", 20e9, moe=True).band.name == "near-lossless"


if __name__ == "__main__":
    write_golden()
