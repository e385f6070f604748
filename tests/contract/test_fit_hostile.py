"""Files that mean harm, or are broken, meet the fit: refused in words, and nothing else ends."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import large_shapes
from fake_engine import FakePlanner, Running, running
from fireside_engine import address, errors
from fireside_engine.core.footprint import Setup
from fireside_engine.models.gguf import read_header
from fireside_engine.server import dry_runs
from fireside_engine.server.dry_runs import BuildFile, DryRuns, Kept, setup_key, shape_key
from fireside_engine.server.planning import FitPlanner
from gguf_writer import Tensor, gguf, settings, write_split

MUTANTS = int(os.environ.get("FIRESIDE_MUTANTS", "300"))
"""5,000 were run for docs/log.md."""


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("shapes") / "lfm2.gguf"
    large_shapes.lfm2(path)
    with path.open("rb") as file:
        return file.read(64 * 1024)


def test_mutated_headers_are_refused_in_words_or_planned(shape: bytes, tmp_path: Path) -> None:
    """What our parser lets through may still end llama.cpp; that ends its process, and the next answer is as before."""
    rng = random.Random(5)
    path = tmp_path / "mutant.gguf"
    size = 2 * 10**9
    outcomes = {"refused": 0, "planned": 0, "died": 0}
    with DryRuns(deadline=30) as runs:
        for number in range(MUTANTS):
            data = bytearray(shape[:4000] if number % 2 else shape)
            for _ in range(rng.choice((1, 1, 2, 8))):
                at = rng.randrange(len(data) // 4 if rng.random() < 0.8 else len(data))
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            path.write_bytes(bytes(data))
            os.truncate(path, size)
            try:
                parts = runs.measure(read_header(path), [Setup(4096)], path.name)
            except errors.FiresideError as error:
                assert error.message.endswith(".")
                outcomes["died" if "died" in error.message else "refused"] += 1
            else:
                assert parts[0][0].total > 0
                outcomes["planned"] += 1
        path.write_bytes(shape)
        os.truncate(path, size)
        assert runs.measure(read_header(path), [Setup(4096)], path.name)[0][0].kv == 48 * 1024**2 + 10 * 2 * 2048 * 4
    print(outcomes)
    assert outcomes["refused"] > outcomes["died"]


def test_a_dry_run_that_dies_costs_one_answer(shape: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(shape)
    os.truncate(path, 2 * 10**9)
    header = read_header(path)
    with DryRuns() as runs:
        assert runs.devices == []
        assert runs._process is not None
        os.kill(runs._process.pid, signal.SIGKILL)
        runs._process.wait()
        with pytest.raises(errors.ModelUnsupported, match=r"died of the header of model\.gguf"):
            runs.measure(header, [Setup(4096)], "model.gguf")
        assert len(runs.measure(header, [Setup(4096), Setup(8192)], "model.gguf")) == 2


def test_a_dry_run_that_hangs_is_ended(shape: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(shape)
    os.truncate(path, 2 * 10**9)
    script = "import json, time; print(json.dumps({'devices': [], 'build': 'b'}), flush=True); time.sleep(60)"
    with DryRuns((sys.executable, "-c", script), deadline=0.5) as runs, pytest.raises(errors.ModelUnsupported):
        runs.measure(read_header(path), [Setup(4096)], "model.gguf")


def test_a_binding_that_cannot_be_loaded_is_told_with_the_next_step() -> None:
    with DryRuns((sys.executable, "-c", "raise SystemExit(1)"), deadline=10) as runs:
        with pytest.raises(errors.InternalError) as caught:
            _ = runs.devices
        assert "doctor" in caught.value.hint


def test_a_build_without_graphics_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import json; print(json.dumps({'devices': [], 'build': 'b', 'offload': %s}), flush=True); input()"
    for offload in (True, False):
        file = BuildFile(tmp_path / str(offload))
        with DryRuns((sys.executable, "-c", script % offload)) as runs:
            file.save(runs)
        # With graphics there may be another device, or less memory on it, the next time.
        assert file.load() == (None if offload else "b")
    monkeypatch.setattr(dry_runs, "_installed", lambda: "another")
    assert file.load() is None


def test_answers_are_kept_by_shape_and_not_by_type(tmp_path: Path) -> None:
    files = {}
    for quant in ("q4_K", "q8_0"):
        large_shapes.llama(tmp_path / quant, q=quant, qo=quant)
        files[quant] = shape_key(read_header(tmp_path / quant), "build")
    large_shapes.lfm2(tmp_path / "other")
    assert files["q4_K"] == files["q8_0"] != shape_key(read_header(tmp_path / "other"), "build")
    assert files["q4_K"] != shape_key(read_header(tmp_path / "q4_K"), "newer build")
    kept = Kept(tmp_path / "kept")
    assert kept.load("k") == {}
    kept.save("k", {setup_key(Setup(1)): ()})
    assert kept.load("k") == {setup_key(Setup(1)): ()}
    (tmp_path / "kept" / "k.json").write_text("{")
    assert kept.load("k") == {}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Running]:
    """A real planner; the workers are fake, so a file that reaches one would be said to load."""
    with running(tmp_path / "journal", planner=FitPlanner) as made:
        yield made


def put(name: str, data: bytes) -> Path:
    path = address.models_dir() / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_broken_files_are_refused_in_words_and_the_engine_goes_on(engine: Running, shape: bytes) -> None:
    put("zeros", bytes(100_000))
    put("cut", shape)
    write_split(address.models_dir(), "split", 3)[1].unlink()
    path = put("good", shape)
    os.truncate(path, 2 * 10**9)
    for name, words in (("zeros", "not a GGUF"), ("cut", "truncated"), ("split", "missing")):
        for route in ("/fireside/fit", "/fireside/show"):
            error = engine.ask("POST", route, {"model": name}, owner=True)
            assert error.status == 422, name
            assert words in error.json["error"]["message"]
        assert engine.chat("words=1", model=name).status == 422
    found = engine.ask("POST", "/fireside/fit", {}, owner=True).json
    names = {row["name"] for model in found["models"] for row in model["rows"]}
    assert "good" in names
    assert not names & {"zeros", "cut", "split"}
    assert not engine.noted("load")


def test_a_header_that_llama_cpp_refuses_is_planned_by_formula(engine: Running) -> None:
    """An architecture that the installed build does not know: the load will say so; the fit says what it would take."""
    put("strange", gguf(settings("nosuch", nosuch__embedding_length=64), [Tensor("blk.0.attn_q.weight", (64, 64))]))
    (model,) = engine.ask("POST", "/fireside/fit", {"model": "strange"}, owner=True).json["models"]
    assert model["rows"][0]["exact"] is False
    assert model["rows"][0]["fits"]


def test_numbers_out_of_range_are_refused(engine: Running) -> None:
    for body in ({"n_ctx": 0}, {"n_ctx": -1}, {"n_slots": 65}, {"kv_type": "q1"}, {"speed": 0}, {"more": 1}):
        assert engine.ask("POST", "/fireside/fit", body, owner=True).status == 400, body
    assert engine.ask("POST", "/fireside/fit", {}).status == 401


def test_an_engine_whose_planner_is_another_says_so(tmp_path: Path) -> None:
    with running(tmp_path / "journal", planner=FakePlanner) as engine:
        assert engine.ask("GET", "/fireside/machine", owner=True).status == 500
