"""The list that people choose a model from."""

from __future__ import annotations

from pathlib import Path

from fireside.commands.models_search import render
from fireside_engine.models.catalogue import Catalogue
from fireside_engine.models.catalogue_schema import catalogue_path
from fireside_engine.models.known import list_known
from gguf_writer import write_model
from model_home import make_catalogue, make_folder


def test_words_narrow_the_list_and_installed_ones_are_marked(tmp_path: Path) -> None:
    write_model(make_folder(tmp_path) / "Lamp-7B-Q8_0.gguf")
    catalogue = make_catalogue(tmp_path)
    assert [(one.name, one.installed) for one in list_known(catalogue)] == [
        ("lamp-7b", True),
        ("lamp-1b", False),
        ("wick", False),
        ("lamp-embed", False),
    ]
    assert [one.name for one in list_known(catalogue, "LAMP code")] == ["lamp-7b"]
    assert list_known(catalogue, "lamp nothing") == []
    lamp = list_known(catalogue, "lamp-7b")[0]
    assert (lamp.quant, lamp.source, lamp.title) == ("Q4_K_M", "hf:nobody/Lamp-7B-GGUF", "Lamp")
    assert lamp.size is not None
    assert 4.2e9 < lamp.size < 4.4e9
    assert list_known(catalogue, "lamp-1b")[0].size is None


def test_sizes_of_the_shipped_catalogue_are_near_those_of_the_files(tmp_path: Path) -> None:
    """Bytes of files as their repositories state them; a fifth off is near enough to choose by."""
    catalogue = Catalogue(tmp_path, catalogue_path())
    sizes = {one.name: one.size for one in list_known(catalogue)}
    for name, size in {
        "qwen3-4b-2507": 2.5e9,
        "qwen3-30b-a3b-2507": 18_556_716_416,
        "ministral-3-8b": 5_198_911_904,
        "smollm3-3b": 1_915_305_312,
        "phi-4-mini": 2_491_874_272,
        "granite-4.0-h-1b": 901_162_208,
        "bge-m3": 634_553_760,
        "qwen3.5-9b": 5_680_046_080,
        "gemma-4-31b": 19_600_000_000,
    }.items():
        assert abs((sizes[name] or 0) / size - 1) < 0.2, (name, sizes[name], size)


def test_the_list_in_words(tmp_path: Path) -> None:
    models = [
        {"name": "a", "size": 4_300_000_000, "context": 4096, "roles": ["chat", "code"], "licence": "MIT",
         "confirmed": True, "installed": True, "description": "A."},
        {"name": "b", "size": None, "context": None, "roles": ["chat"], "licence": "unknown",
         "confirmed": False, "installed": False, "description": "B."},
    ]  # fmt: skip
    assert render(models).splitlines() == [
        "NAME  SIZE     CONTEXT  FOR        LICENCE         WHAT",
        "a     ~4.3 GB  4,096    chat,code  MIT       here  A.",
        "b     -        -        chat       unknown?        B.",
    ]
    assert "hf:OWNER/REPO" in render([])
