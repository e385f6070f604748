"""The process that compiles the sampler: its work is kept, and it never outlives the worker it compiles for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fireside_engine.worker import kernels
from real_engine import until


def test_the_compiler_leaves_with_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", kernels._COMPILE], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()
    assert until(lambda: process.poll() is not None)
    assert process.returncode == 1


def test_what_was_compiled_is_marked_so_that_no_other_worker_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(kernels, "_COMPILE", kernels._COMPILE.partition("from fireside_engine")[0])
    kernels._compile(cache)
    assert [path.name for path in cache.iterdir()] == ["compiled"]


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    kernels.use_own_cache()
    chosen = Path(os.environ["NUMBA_CACHE_DIR"])
    assert chosen.is_dir()
    assert chosen.parent == tmp_path


def test_each_version_has_its_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernels.use_own_cache()
    chosen = Path(os.environ["NUMBA_CACHE_DIR"])
    assert chosen.parent == tmp_path
    assert list(chosen.iterdir()) == []
