"""What a dry run promises is what a load allocates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fireside_engine.core.footprint import HOST, DeviceBytes, Setup
from fireside_engine.llama import breakdown
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.dry_run import dry_run
from fireside_engine.llama.model import Model

pytestmark = pytest.mark.model
MIB = 1024 * 1024
SETUPS = [Setup(n_ctx, 2, kv, kv) for n_ctx in (2048, 8192) for kv in ("f16", "q8_0")]


@contextmanager
def loaded(path: Path) -> Iterator[Model]:
    model = Model(path)
    try:
        yield model
    finally:
        model.close()


def allocated(model: Model, setup: Setup) -> tuple[DeviceBytes, ...]:
    context = Context(
        model,
        ContextOptions(
            setup.n_ctx, setup.n_slots, setup.n_batch, setup.n_outputs, 2, type_k=setup.type_k, type_v=setup.type_v
        ),
    )
    try:
        return breakdown.of_context(context.handle, setup.n_outputs, model.n_vocab, context.log, model.size)
    finally:
        context.close()


def close_to(real: DeviceBytes, promised: DeviceBytes) -> bool:
    kinds = ("weights", "kv", "compute", "outputs")
    return all(abs(getattr(real, kind) - getattr(promised, kind)) <= MIB for kind in kinds)


@pytest.mark.parametrize("name", ["smollm2", "qwen", "qwen_small", "gemma"])
def test_a_load_allocates_what_the_dry_run_promised(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    promised = dry_run(path, SETUPS)
    with loaded(path) as model:
        for setup, parts in zip(SETUPS, promised, strict=True):
            real = allocated(model, setup)
            assert [part.device for part in real] == [part.device for part in parts]
            assert all(close_to(a, b) for a, b in zip(real, parts, strict=True)), setup


def test_the_log_tells_the_same_as_the_table(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table of llama.cpp cannot be read, the log lines stand in for it."""
    if not breakdown.has_table():
        pytest.skip("this system has the log lines only")
    from_table = dry_run(smollm2, SETUPS)
    monkeypatch.setattr(breakdown, "has_table", lambda: False)
    from_log = dry_run(smollm2, SETUPS)
    for table, log in zip(from_table, from_log, strict=True):
        assert len(table) == len(log) == 1
        assert table[0].device == log[0].device == HOST
        assert close_to(table[0], log[0])
