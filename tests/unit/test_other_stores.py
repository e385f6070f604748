"""Models of Ollama, LM Studio and the hub's cache are offered in place, and nothing of theirs is touched."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.models.catalogue import STORES_VARIABLE, Catalogue
from fireside_engine.models.other_stores import Foreign, _json, find_foreign
from gguf_writer import write_model, write_split
from model_home import make_catalogue, make_folder, shown

COMMIT = "c" * 40


def ollama(home: Path, path: str, *, size: int = 32, layers: list[Any] | None = None) -> Path:
    """A model as Ollama keeps it; `path` is HOST/NAMESPACE/MODEL/TAG."""
    root = home / ".ollama" / "models"
    made = write_model(home / "made.gguf", size=size)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    blob = root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    made.rename(blob)
    manifest = root / "manifests" / path
    manifest.parent.mkdir(parents=True, exist_ok=True)
    own = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": blob.stat().st_size},
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'1' * 64}", "size": 3},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": own if layers is None else layers}))
    return blob


def hub_cache(cache: Path, repo: str, *files: str, commit: str = COMMIT, main: bool = True) -> list[Path]:
    """Files as huggingface_hub caches them: links to blobs."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    paths = []
    for number, name in enumerate(files):
        blob = write_model(folder / "blobs" / f"{number}{commit[0]}", size=32 + number)
        path = folder / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(blob, path.parent))
        paths.append(path)
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return paths


def test_ollama(tmp_path: Path) -> None:
    first = ollama(tmp_path, "registry.ollama.ai/library/qwen3/8b")
    ollama(tmp_path, "registry.ollama.ai/library/llama3.2/latest", size=64)
    ollama(tmp_path, "registry.ollama.ai/somebody/lamp/7b", size=96)
    ollama(tmp_path, "hf.co/bartowski/Lamp-GGUF/Q4_K_M", size=128)
    found = find_foreign({}, tmp_path)
    assert {foreign.name for foreign in found} == {
        "qwen3:8b",
        "llama3.2",
        "somebody/lamp:7b",
        "hf.co/bartowski/Lamp-GGUF:Q4_K_M",
    }
    assert Foreign("qwen3:8b", first, "ollama") in found
    assert find_foreign({"OLLAMA_MODELS": str(tmp_path / "elsewhere")}, tmp_path) == []
    moved = find_foreign({"OLLAMA_MODELS": str(tmp_path / ".ollama" / "models")}, Path("/nowhere"))
    assert [foreign.name for foreign in moved] == [foreign.name for foreign in found]


@pytest.mark.parametrize(
    "layers",
    [
        [],
        "x",
        [3],
        [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}],
        [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "e" * 64}],
        [{"mediaType": "application/vnd.ollama.image.model"}],
    ],
)
def test_odd_manifests_have_no_model(tmp_path: Path, layers: list[Any]) -> None:
    ollama(tmp_path, "registry.ollama.ai/library/odd/1b", layers=layers)
    assert find_foreign({}, tmp_path) == []


@given(data=st.binary(max_size=200))
def test_any_manifest_is_read_or_not(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest"
    path.write_bytes(data)
    assert isinstance(_json(path), dict)


def test_lm_studio(tmp_path: Path) -> None:
    folder = tmp_path / ".lmstudio" / "models" / "nobody" / "Lamp-GGUF"
    lamp = write_model(folder / "Lamp-7B-Q4_K_M.gguf")
    write_model(folder / "mmproj-Lamp-7B.gguf")
    assert find_foreign({}, tmp_path) == [Foreign("Lamp-7B-Q4_K_M", lamp, "lm-studio")]
    other = write_model(tmp_path / "disk" / "a" / "b" / "x.gguf")
    (tmp_path / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path / "disk")}))
    assert find_foreign({}, tmp_path) == [Foreign("x", other, "lm-studio")]
    (tmp_path / "home2").mkdir()
    (tmp_path / "home2" / ".lmstudio-home-pointer").write_text(f"{tmp_path / '.lmstudio'}\n")
    assert find_foreign({}, tmp_path / "home2") == [Foreign("x", other, "lm-studio")]


def test_the_hubs_cache(tmp_path: Path) -> None:
    cache = tmp_path / ".cache" / "huggingface" / "hub"
    hub_cache(cache, "nobody/Old-GGUF", "old.gguf", commit="a" * 40, main=False)
    (lamp, inner, _) = hub_cache(
        cache, "nobody/Lamp-GGUF", "Lamp-7B-Q4_K_M.gguf", "sub/Lamp-7B-Q8_0.gguf", "mmproj.gguf"
    )
    hub_cache(cache, "nobody/Lamp-GGUF", "outdated.gguf", commit="b" * 40, main=False)
    found = find_foreign({}, tmp_path)
    assert [foreign.name for foreign in found] == ["Lamp-7B-Q4_K_M", "Lamp-7B-Q8_0", "old"]
    assert [foreign.path for foreign in found][:2] == [lamp, inner]
    for variable, value in (("HF_HUB_CACHE", cache), ("HF_HOME", cache.parent), ("XDG_CACHE_HOME", cache.parents[1])):
        assert find_foreign({variable: str(value)}, Path("/nowhere")) == found
    escape = cache / "models--evil--x" / "snapshots" / COMMIT / "evil.gguf"
    escape.parent.mkdir(parents=True)
    escape.symlink_to(lamp)
    assert find_foreign({}, tmp_path) == found


def test_split_models_of_the_cache_are_one(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    folder = cache / "models--a--b" / "snapshots" / COMMIT / "Q4"
    folder.mkdir(parents=True)
    first, *_ = write_split(folder, "Big-Q4_K_M", 3)
    assert find_foreign({"HF_HUB_CACHE": str(cache)}, tmp_path) == [Foreign("Big-Q4_K_M", first, "hub-cache")]


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with something in each store, and nothing readable by accident."""
    root = tmp_path / "user"
    ollama(root, "registry.ollama.ai/library/qwen3/8b")
    write_model(root / ".lmstudio" / "models" / "n" / "r" / "Odd-Q4_0.gguf", size=64)
    hub_cache(root / ".cache" / "huggingface" / "hub", "nobody/Lamp-7B-GGUF", "Lamp-7B-Q4_K_M.gguf")
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.delenv(STORES_VARIABLE)
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return root


def snapshot(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_mode) for path in root.rglob("*"))


def test_the_catalogue_offers_them_in_place(tmp_path: Path, stores: Path) -> None:
    before = snapshot(stores)
    catalogue = make_catalogue(tmp_path)
    assert shown(catalogue) == ["qwen3:8b", "Odd-Q4_0", "Lamp-7B-Q4_K_M"]
    assert [entry.source for entry in catalogue.list()] == ["ollama", "lm-studio", "hub-cache"]
    assert catalogue.resolve("QWEN3:8b").path.name.startswith("sha256-")
    lamp = catalogue.resolve("lamp")
    assert (lamp.source, lamp.details["licence"]) == ("hub-cache", "Apache-2.0")
    assert catalogue.default() == lamp
    assert snapshot(stores) == before


def test_a_file_of_ours_goes_before_the_same_name_elsewhere(tmp_path: Path, stores: Path) -> None:
    own = write_model(make_folder(tmp_path) / "Lamp-7B-Q4_K_M.gguf")
    catalogue = make_catalogue(tmp_path)
    assert catalogue.resolve("Lamp-7B-Q4_K_M").path == own
    assert len([name for name in shown(catalogue) if name.startswith("Lamp-7B-Q4_K_M@")]) == 1


def test_one_file_is_listed_once(tmp_path: Path, stores: Path) -> None:
    odd = stores / ".lmstudio" / "models" / "n" / "r" / "Odd-Q4_0.gguf"
    (make_folder(tmp_path) / "link.gguf").symlink_to(odd)
    assert "Odd-Q4_0" not in shown(make_catalogue(tmp_path))
    assert "link" in shown(make_catalogue(tmp_path))


def test_they_can_be_left_out(tmp_path: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("other_stores = false\n")
    assert shown(make_catalogue(tmp_path)) == []
    (tmp_path / "config.toml").unlink()
    monkeypatch.setenv(STORES_VARIABLE, "0")
    assert shown(make_catalogue(tmp_path)) == []


def test_a_look_is_fresh_after_refresh(tmp_path: Path, stores: Path) -> None:
    catalogue: Catalogue = make_catalogue(tmp_path)
    assert "new:1b" not in shown(catalogue)
    ollama(stores, "registry.ollama.ai/library/new/1b", size=256)
    catalogue.refresh()
    assert "new:1b" in shown(catalogue)
