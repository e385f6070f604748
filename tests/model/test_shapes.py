"""Sparse files with the shapes of large models: llama.cpp's own figures against the closed formulas. No weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import large_shapes
from fireside_engine.core.fit import Wish, rungs
from fireside_engine.core.footprint import HOST, Setup
from fireside_engine.core.shape import kv_bytes, output_bytes
from fireside_engine.llama.dry_run import dry_run
from fireside_engine.models.gguf import read_header
from fireside_engine.models.shape import shape_of
from fireside_engine.models.skeleton import write_skeleton

MIB = 1024 * 1024
AT_32K = {
    "llama-8b": 4096 * MIB,
    "qwen3-30b-a3b": 3072 * MIB,
    "gemma-3-12b": 2528 * MIB,
    "deepseek-v2-lite": 972 * MIB,
    # 6 layers of attention with 8 heads of 64, and 10 of convolutions that remember 2 tokens.
    "lfm2-1.2b": 384 * MIB + 10 * 2 * 2048 * 4,
}
"""KV of one conversation of 32,768 tokens in f16, by hand."""

SETUPS = [
    Setup(32768),
    Setup(8192, 4, "q8_0", "q8_0"),
    Setup(2048, 2, "f16", "bf16", swa_full=True),
    Setup(16384, 3, "bf16", "bf16"),
]


@pytest.fixture(params=sorted(AT_32K))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / f"{request.param}.gguf"
    large_shapes.WRITERS[request.param](path)
    return request.param, path


def test_kv_is_what_the_formula_says(model: tuple[str, Path]) -> None:
    name, path = model
    shape = shape_of(read_header(path))
    setups = [s for s in SETUPS if s.type_k == s.type_v or not shape.is_latent]
    parts = dry_run(path, setups)
    assert parts[0][0].kv == AT_32K[name]
    for setup, buffers in zip(setups, parts, strict=True):
        (host,) = buffers
        assert host.device == HOST
        assert host.kv == kv_bytes(shape, setup), setup
        assert host.weights == shape.weights
        assert host.outputs == output_bytes(shape, setup)


def test_a_text_that_depends_on_the_request_alone_is_planned_with_types_that_load(model: tuple[str, Path]) -> None:
    """Latent attention has one type of KV: f16 with bf16, right for all others, ended its load with an error."""
    _, path = model
    setups = rungs(shape_of(read_header(path)), Wish(deterministic=True))
    assert len(dry_run(path, setups)) == len(setups)


def test_a_skeleton_of_a_skeleton_is_the_same_to_llama(model: tuple[str, Path], tmp_path: Path) -> None:
    """What stands for a file in a dry run says the same as the file."""
    _, path = model
    written = tmp_path / "skeleton.gguf"
    write_skeleton(read_header(path), written)
    assert dry_run(written, SETUPS[:2]) == dry_run(path, SETUPS[:2])


def test_types_of_weights_do_not_change_kv_or_activations(tmp_path: Path) -> None:
    """So that one dry run serves all quantizations of a model."""
    found = []
    for quant in ("q4_K", "q8_0", "f16"):
        path = tmp_path / f"{quant}.gguf"
        large_shapes.llama(path, q=quant, qo=quant)
        parts = dry_run(path, SETUPS[:2])
        found.append([replace(buffers[0], weights=0) for buffers in parts])
    assert found[0] == found[1] == found[2]
