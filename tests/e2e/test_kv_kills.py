"""Workers and servers are killed while conversations go on: no wrong text, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from fireside_engine import address
from killing import Killing, left_behind
from real_engine import RealEngine


def test_kills_cost_answers_in_flight_and_nothing_else(
    tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four here; tests/bench/kill_bench.py does two hundred."""
    home = tmp_path / "home"
    monkeypatch.setenv(address.HOME_VARIABLE, str(home))
    engine = RealEngine(home, tiny=tiny_models["llama"])
    killing = Killing(engine, "tiny")
    try:
        killing.run(4, slowest=1.5)
    finally:
        engine.stop()
    assert killing.wrong == []
    orphans, verified = left_behind(home)
    assert orphans == 0
    assert verified.removed.records == 0
