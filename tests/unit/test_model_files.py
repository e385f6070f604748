"""Which files of the models folder are models, and how broken ones are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fireside_engine.errors import NotAModel
from fireside_engine.models import describe
from fireside_engine.models.catalogue import Catalogue
from fireside_engine.models.discovery import find_models
from fireside_engine.models.gguf import Header, read_header
from gguf_writer import gguf, settings, write_model, write_split
from model_home import make_catalogue, make_folder, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make_catalogue(tmp_path)


def test_an_empty_home_has_no_models(catalogue: Catalogue, folder: Path) -> None:
    folder.rmdir()
    assert catalogue.list() == []


def test_which_files_are_models(catalogue: Catalogue, folder: Path) -> None:
    for name in ("plain.gguf", "LOUD.GGUF", "sorted/deep/er/three.gguf", "sorted/deep/er/too/four.gguf"):
        write_model(folder / name)
    for name in ("x.gguf.part", "y.gguf.incomplete", "z.incomplete.gguf", ".hidden.gguf", ".cache/a.gguf", "notes.txt"):
        write_model(folder / name)
    (folder / "folder.gguf").mkdir()
    assert sorted(shown(catalogue)) == ["LOUD", "plain", "three"]


def test_links(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    """The user's own links are followed, those that came inside a folder may not leave the models folder."""
    outside = write_model(tmp_path / "outside" / "far.gguf")
    inside = write_model(folder / "sub" / "near.gguf")
    (folder / "mine.gguf").symlink_to(outside)
    (folder / "sub" / "twin.gguf").symlink_to(inside)
    (folder / "sub" / "escape.gguf").symlink_to(outside)
    (folder / "elsewhere").symlink_to(outside.parent)
    (folder / "dangling.gguf").symlink_to(folder / "nothing.gguf")
    (folder / "circle.gguf").symlink_to(folder / "circle.gguf")
    assert sorted(shown(catalogue)) == ["mine", "near", "twin"]


def test_split_models_are_one(catalogue: Catalogue, folder: Path) -> None:
    parts = write_split(folder, "big", 3)
    (entry,) = catalogue.list()
    assert (entry.name, entry.path, entry.size) == ("big", parts[0], sum(part.stat().st_size for part in parts))
    assert catalogue.resolve("BIG").path == parts[0]
    parts[1].unlink()
    (entry,) = catalogue.list()
    assert "big-00002-of-00003.gguf" in entry.details["error"]
    with pytest.raises(NotAModel, match="missing"):
        catalogue.resolve("big")


def test_files_of_one_name_are_told_apart_for_good(catalogue: Catalogue, folder: Path) -> None:
    for name in ("lampion.gguf", "a/lampion.gguf", "b/Lampion.gguf"):
        write_model(folder / name)
    first, *others = catalogue.list()
    assert (first.name, first.path) == ("lampion", folder / "lampion.gguf")
    for entry in others:
        assert entry.name.casefold().startswith("lampion@")
        assert catalogue.resolve(entry.name).path == entry.path
    assert shown(catalogue) == [first.name, *(entry.name for entry in others)]


def test_broken_files_are_listed_as_broken(catalogue: Catalogue, folder: Path) -> None:
    write_model(folder / "sound.gguf")
    whole = write_model(folder / "cut.gguf", size=4096)
    whole.write_bytes(whole.read_bytes()[:-100])
    (folder / "page.gguf").write_bytes(b"<html>")
    (folder / "zeros.gguf").write_bytes(bytes(100_000))
    (folder / "adapter.gguf").write_bytes(gguf(settings(general__type="adapter")))
    (folder / "mmproj.gguf").write_bytes(gguf(settings("clip")))
    nameless = settings()
    del nameless["general.architecture"]
    (folder / "nameless.gguf").write_bytes(gguf(nameless))
    errors = {entry.name: entry.details.get("error", "") for entry in catalogue.list()}
    words = {
        "sound": "",
        "cut": "truncated",
        "page": "web page",
        "zeros": "zeros",
        "adapter": "LoRA",
        "mmproj": "encoder",
        "nameless": "architecture",
    }
    assert errors.keys() == words.keys()
    for name, word in words.items():
        assert word in errors[name]
        if word:
            with pytest.raises(NotAModel, match=word):
                catalogue.resolve(name)


def test_a_file_is_read_once_per_version(catalogue: Catalogue, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> Header:
        read.append(path.name)
        return read_header(path)

    monkeypatch.setattr(describe, "read_header", counted)
    path = write_model(folder / "a.gguf")
    write_model(folder / "b.gguf")
    catalogue.list()
    catalogue.list()
    assert sorted(read) == ["a.gguf", "b.gguf"]
    write_model(path, size=64)
    catalogue.list()
    assert read.count("a.gguf") == 2
    assert read.count("b.gguf") == 1
    (folder / "c.gguf").write_bytes(b"")
    catalogue.list()
    catalogue.refresh()
    catalogue.list()
    assert sorted(read) == ["a.gguf", "a.gguf", "b.gguf", "c.gguf", "c.gguf"]


def test_details_are_json(catalogue: Catalogue, folder: Path) -> None:
    write_model(folder / "Lamp-7B-Q4_K_M.gguf")
    (entry,) = catalogue.list()
    assert json.loads(json.dumps(entry.details)) == entry.details
    assert entry.source == "catalogue"
    assert entry.details["catalogue"] == "lamp-7b"
    assert entry.details["roles"] == ["chat", "code"]
    assert (entry.details["quant"], entry.details["n_ctx_train"], entry.details["licence"]) == (
        "Q4_K_M",
        2048,
        "Apache-2.0",
    )


def test_a_listing_opens_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are found by name and size; headers are read only for what is asked of them."""
    for name in ("a.gguf", "b.gguf"):
        write_model(folder / name)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert [model.stem for model in find_models(folder)] == ["a", "b"]
