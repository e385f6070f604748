"""`fireside models fit|show|quantize|measure`, `ps`, `doctor`, on tiny models in a real engine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import large_shapes
import tiny_models
from cli_driver import Done, fireside
from fake_engine import WORKER, Running, running
from fireside_engine import address
from fireside_engine.core.footprint import HOST
from fireside_engine.core.machine import GIB, MIB, Machine, Pool
from fireside_engine.server.planning import FitPlanner, Look
from fireside_engine.server.settings import Settings
from stand_in_hub import StandInHub

REAL_WORKER = Settings().worker_command


def machine(free: int) -> Look:
    """A machine without graphics and with so many bytes for models; a faked one is looked at in one place."""
    pool = Pool(HOST, "host", 64 * GIB, free, 0, "main memory", "test")
    return lambda devices, build: Machine(pool, (), 2, ("avx2",), build)


@pytest.fixture
def models(home: Path) -> Path:
    folder = address.models_dir()
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def engine(models: Path, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "journal", planner=FitPlanner, worker_command=REAL_WORKER) as made:
        yield made


def small(tmp_path: Path, free: int) -> Any:
    """An engine on a machine of so many free bytes, whose workers are fake: only plans matter."""
    return running(tmp_path / "journal", planner=lambda: FitPlanner(look=machine(free)), worker_command=WORKER)


def ask(*words: str, **options: Any) -> Done:
    done = fireside(*words, **options)
    assert b"Traceback" not in done.err
    return done


def data(*words: str, **options: Any) -> Any:
    done = ask(*words, "--json", **options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_quantize_measure_and_the_choice_that_follows(engine: Running, models: Path) -> None:
    tiny_models.write_llama(models / "tiny-F32.gguf")
    made = data("models", "quantize", "tiny-F32", "--to", "Q8_0,q4_0")["made"]
    assert [(one["name"], one["quant"]) for one in made] == [("tiny-Q8_0", "Q8_0"), ("tiny-Q4_0", "Q4_0")]
    assert sorted(path.name for path in models.iterdir()) == ["tiny-F32.gguf", "tiny-Q4_0.gguf", "tiny-Q8_0.gguf"]
    again = ask("models", "quantize", "tiny-F32", "--to", "Q8_0")
    assert (again.code, again.out) == (0, b"Nothing was made.\n")
    assert b"is there already" in again.err

    before = {row["quant"]: row["quality"] for row in data("models", "fit", "tiny-F32")["models"][0]["rows"]}
    assert not any(quality["measured"] for quality in before.values())
    table = data("models", "measure", "tiny-Q4_0", "--tokens", "256")
    assert table["against"] == "tiny-F32"
    rows = {row["quant"]: row for row in table["rows"]}
    assert 0 < rows["Q8_0"]["kld"] < rows["Q4_0"]["kld"]
    assert 1 > rows["Q8_0"]["same_top"] > rows["Q4_0"]["same_top"] > 0
    assert all(row["tokens_per_second"] > 0 for row in rows.values())

    (model,) = data("models", "fit", "tiny-Q4_0")["models"]
    after = {row["quant"]: row for row in model["rows"]}
    assert after["Q8_0"]["quality"]["measured"]
    assert after["Q8_0"]["quality"]["kld"] == pytest.approx(rows["Q8_0"]["kld"])
    assert after["Q4_0"]["against"] == f"{after['Q4_0']['quality']['band']} loss"
    assert model["pick"] == "tiny-F32"
    assert model["reason"]
    pair = data("models", "fit", "tiny-F32", "--draft", "tiny-Q4_0")["models"][0]["rows"][0]
    assert pair["plan"]["draft"] == "tiny-Q4_0"
    alone = next(row for row in model["rows"] if row["name"] == pair["name"])
    smallest = next(row for row in model["rows"] if row["name"] == "tiny-Q4_0")
    weights = [row["memory"][0]["weights"] for row in (pair, alone, smallest)]
    assert weights[0] == weights[1] + weights[2]
    text = ask("models", "measure", "tiny-F32", "--tokens", "200").out.decode()
    assert text.splitlines()[0].split() == [
        "QUANT", "FILE", "SIZE", "KL", "DIVERGENCE", "SAME", "TOKEN", "TOK/S", "PROMPT", "TOK/S",
    ]  # fmt: skip


def test_what_was_predicted_and_what_was_taken_stand_side_by_side(engine: Running, models: Path) -> None:
    tiny_models.write_llama(models / "tiny-F32.gguf")
    assert ask("run", "-m", "tiny-F32", "-n", "4", "hello").code == 0
    status = data("ps")["models"][0]
    predicted = status["predicted"] - data("models", "show", "tiny-F32")["row"]["process"]
    kinds = ("weights", "kv", "compute", "outputs")
    assert predicted == sum(part[kind] for part in status["info"]["devices"] for kind in kinds) > 0
    shown = ask("models", "show", "tiny-F32").out.decode()
    assert "last load     predicted" in shown
    assert "predicted" in shown.split("loaded", 1)[1]
    assert "PREDICTED" in ask("ps").out.decode()


def test_a_pair_takes_what_was_predicted_for_both(engine: Running, models: Path) -> None:
    """The draft model has a context of its own: one slot, small pieces, f16."""
    tiny_models.write_llama(models / "big-F32.gguf", layers=6)
    tiny_models.write_llama(models / "little-F32.gguf", layers=2)
    assert ask("run", "-m", "big-F32", "--draft", "little-F32", "-n", "2", "hello").code == 0
    load = data("models", "show", "big-F32")["last_load"]
    assert load["predicted_devices"] == load["actual_devices"]
    plan = data("models", "fit", "big-F32", "--draft", "little-F32")["models"][0]["rows"][0]
    assert plan["memory"][0]["total"] == load["actual_devices"]


def test_hybrids_windows_and_states_are_planned_and_load_as_planned(engine: Running, models: Path) -> None:
    for name in ("gemma3", "lfm2", "mamba", "qwen35"):
        tiny_models.WRITERS[name](models / f"{name}-F32.gguf")
        for options in ((), ("--deterministic",)):
            assert ask("run", "-m", f"{name}-F32", *options, "-n", "2", "hello").code == 0, name
    for status in data("ps")["models"]:
        real = sum(part[kind] for part in status["info"]["devices"] for kind in ("weights", "kv", "compute", "outputs"))
        process = data("models", "show", status["name"])["row"]["process"]
        assert abs(status["predicted"] - process - real) <= MIB, status["name"]
        assert status["drift"] == ""


def test_a_table_of_quantizations_marks_one(models: Path, tmp_path: Path) -> None:
    for quant in ("q4_0", "q8_0", "q4_K", "q5_K", "q6_K", "f16"):
        large_shapes.llama(models / f"big-{quant}.gguf", q=quant, qo=quant)
    with small(tmp_path, 12 * GIB):
        done = ask("models", "fit", "big-q4_0")
        assert done.code == 0
        lines = done.out.decode().splitlines()
        assert len([line for line in lines if line.startswith(">")]) == 1
        assert any("no: " in line and "missing" in line for line in lines)
        assert any("would fit with:" in line for line in lines)
        assert "12.9 GB of 68.7 GB free (test)" in lines[0]


def test_what_fits_nowhere_is_an_exit_code_with_ways_out(models: Path, tmp_path: Path) -> None:
    large_shapes.llama(models / "big-q8_0.gguf", q="q8_0", qo="q8_0")
    with small(tmp_path, 2 * GIB):
        done = ask("models", "fit", "big-q8_0")
        assert done.code == 4
        assert b"more free in main memory" in done.out
        refused = ask("run", "-m", "big-q8_0", "hello")
        assert refused.code == 4
        assert b"are missing" in refused.err
        assert b"What would help" in refused.err
        assert b"--force" in refused.err
        forced = ask("run", "-m", "big-q8_0", "--force", "words=2")
        assert (forced.code, forced.out) == (0, b"w0 w1 \n")
        assert "Loaded by force" in ask("ps").out.decode()


def test_a_smaller_machine_gets_another_choice(models: Path, tmp_path: Path) -> None:
    for quant in ("q8_0", "q4_K"):
        large_shapes.llama(models / f"big-{quant}.gguf", q=quant, qo=quant)
    picks = {}
    for free in (5.6, 40):
        with small(tmp_path, int(free * GIB)):
            (model,) = data("models", "fit", "big-q8_0", "--speed", "1")["models"]
            picks[free] = next(row for row in model["rows"] if row["picked"])
    assert picks[5.6]["name"] == "big-q4_K"
    assert picks[40]["name"] == "big-q8_0"
    assert picks[5.6]["plan"]["n_ctx"] < picks[40]["plan"]["n_ctx"]


def test_a_model_on_the_hub_is_fitted_from_its_header(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One header is fetched, and every quantization of the repository has its row."""
    files = {}
    for quant, more in (("Q4_0", 0), ("Q8_0", 1024)):
        tiny_models.write_llama(tmp_path / f"tiny-{quant}.gguf")
        files[f"tiny-{quant}.gguf"] = (tmp_path / f"tiny-{quant}.gguf").read_bytes() + bytes(more)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    with closing(StandInHub()) as hub, running(tmp_path / "journal", planner=FitPlanner) as engine:
        hub.add("nobody/tiny-GGUF", files)
        environment = {**os.environ, "HF_ENDPOINT": hub.url}
        found = data("models", "fit", "hf:nobody/tiny-GGUF", env=environment)["models"][0]
        assert {row["name"] for row in found["rows"]} == {"tiny-Q4_0", "tiny-Q8_0"}
        assert sum(row["exact"] for row in found["rows"]) >= 1
        assert not engine.noted("load")


def test_doctor_tells_of_memory_for_models(home: Path) -> None:
    checks = {check["name"]: check for check in json.loads(ask("doctor", "--json").out)["checks"]}
    assert "for models" in checks["memory"]["words"]
    assert "main memory is read" in checks["speed"]["words"]


def test_wrong_words_are_told(engine: Running, models: Path) -> None:
    tiny_models.write_llama(models / "tiny-F32.gguf")
    for words, code, said in (
        (("quantize", "tiny-F32"), 2, b"--to"),
        (("quantize", "tiny-F32", "--to", "IQ1_S"), 2, b"cannot be made here"),
        (("measure", "tiny-F32"), 2, b"only one quantization"),
        (("measure", "tiny-F32", "--against", "tiny-F32", "--text", "short"), 2, b"nothing to compare"),
        (("show", "nothing"), 4, b"no model named nothing"),
        (("fit", "nothing"), 4, b"no model named nothing"),
        (("fit", "--ctx", "-1"), 2, b"--ctx"),
    ):
        done = ask("models", *words)
        assert done.code == code, (words, done.err)
        assert said in done.err, (words, done.err)
