"""The planner between files, machine and book; on skeletons, without any worker."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import large_shapes
from fireside_engine import errors
from fireside_engine.core.fit import Wish
from fireside_engine.core.footprint import HOST, DeviceBytes
from fireside_engine.core.machine import GIB, MIB, Machine, Pool
from fireside_engine.core.speed import predict
from fireside_engine.hardware import bandwidth
from fireside_engine.server.book_file import BookFile
from fireside_engine.server.dry_runs import DryRuns
from fireside_engine.server.granting import Grant
from fireside_engine.server.planning import FitPlanner
from fireside_engine.worker.protocol import LoadOptions, ModelInfo


def planner(root: Path, free: int = 40 * GIB) -> FitPlanner:
    pool = Pool(HOST, "host", 64 * GIB, free, 0)
    return FitPlanner(look=lambda devices, build: Machine(pool, (), 2), book=BookFile(root / "machine.json"))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    path = tmp_path / "big-Q4_K_M.gguf"
    large_shapes.llama(path)
    return path


def info(grant: Grant, *, memory: int, kv: int = 0, step_ms: float = 0.0) -> ModelInfo:
    """What a worker says that took the buffers it was granted, and `kv` bytes more."""
    part = grant.footprint.on(HOST)
    devices = (DeviceBytes(HOST, part.weights, part.kv + kv, part.compute, part.outputs),)
    needed = [field for field in fields(ModelInfo) if field.default is MISSING and field.default_factory is MISSING]
    values: dict[str, Any] = {field.name: {"str": "", "bool": True}.get(str(field.type), 1) for field in needed}
    return ModelInfo(**{**values, "memory": memory, "devices": devices, "step_ms": step_ms})


def test_what_was_learned_before_the_first_table_is_right_in_it(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers used to be compared with a guess of the bandwidth, and the table multiplied what they had taught with
    the measured one: 223 tokens/s were promised where 60 were true."""
    monkeypatch.setattr(bandwidth, "measure", lambda n_threads: 33e9)
    own = planner(tmp_path)
    grant = own.plan(llama, LoadOptions())
    for _ in range(4):
        own.answered(llama, grant, 0.05, 100)
    with DryRuns() as runs:
        subject = own.subject(llama)
        machine = own.machine(runs)
        plan = own.assess(subject, machine, Wish(), runs).plan
    assert plan is not None
    assert plan.speed.margin == 0.1
    candidate, book = subject.candidate, own.book.learned.book
    said = predict(candidate.shape, plan.setup, candidate.quant, candidate.file, machine, book, 100)
    assert said.tokens_per_second == pytest.approx(20, rel=0.05)


def test_a_grant_holds_everything_that_was_chosen(llama: Path, tmp_path: Path) -> None:
    grant = planner(tmp_path).plan(llama, LoadOptions(n_threads=3))
    assert (grant.options.n_ctx, grant.options.n_slots, grant.options.kv_type) == (16384, 4, "f16")
    assert grant.options.n_threads == 3
    assert grant.reason.endswith(".")
    assert grant.footprint.exact
    exact = planner(tmp_path).plan(llama, LoadOptions(deterministic=True)).options
    assert (exact.deterministic, exact.kv_type) == (True, None)


def test_a_refusal_has_the_numbers_and_force_goes_past_it(llama: Path, tmp_path: Path) -> None:
    small = planner(tmp_path, 3 * GIB)
    with pytest.raises(errors.InsufficientMemory) as caught:
        small.plan(llama, LoadOptions())
    details = caught.value.details
    assert details["missing"] == details["need"] - details["free"] > 0
    assert details["changes"]
    assert errors.FiresideError.from_dict(caught.value.to_dict()).details == details
    assert "missing" in small.plan(llama, LoadOptions(), force=True).note
    assert small.plan(llama, LoadOptions(), {HOST: 10 * GIB}).note == ""


def test_stepping_down_keeps_what_texts_depend_on(llama: Path, tmp_path: Path) -> None:
    own = planner(tmp_path)
    for options in (LoadOptions(), LoadOptions(deterministic=True)):
        grant = own.plan(llama, options)
        lower = own.lower(llama, grant)
        assert lower is not None
        assert lower.footprint.total < grant.footprint.total
        assert lower.options.deterministic == options.deterministic
        assert (lower.setup.type_v == "bf16") == options.deterministic
        assert "An allocation failed" in lower.note


def test_loads_are_kept_and_drift_is_told(llama: Path, tmp_path: Path) -> None:
    own = planner(tmp_path)
    grant = own.plan(llama, LoadOptions())
    expected = grant.footprint.total
    assert own.loaded(llama, grant, info(grant, memory=expected)) == ""
    assert "instead of" in own.loaded(llama, grant, info(grant, memory=expected, kv=600 * MIB))
    (load,) = own.book.learned.loads.values()
    assert load.actual_devices - load.predicted_devices == 600 * MIB
    assert own.book.learned.overhead == 0
    own.settled(llama, grant, info(grant, memory=0), expected + 200 * MIB)
    assert own.book.learned.overhead == 100 * MIB
    assert planner(tmp_path).plan(llama, LoadOptions()).footprint.process == grant.footprint.process + 100 * MIB
