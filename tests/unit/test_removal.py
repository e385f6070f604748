"""What is removed with a model, and what never is."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from fireside_engine.errors import InvalidRequest
from fireside_engine.models.acquire_store import unfinished
from fireside_engine.models.catalogue import Catalogue
from fireside_engine.models.removal import remove_model, remove_unfinished
from fireside_engine.models.user_catalogue import UserCatalogue
from gguf_writer import write_model, write_split
from model_home import install_starter, make_catalogue, make_folder, shown


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make_catalogue(tmp_path)


@pytest.fixture
def user(tmp_path: Path) -> UserCatalogue:
    return UserCatalogue(tmp_path / "models.toml")


def test_a_pulled_model_goes_with_its_origin_and_empty_folders(
    tmp_path: Path, catalogue: Catalogue, user: UserCatalogue
) -> None:
    path = write_model(make_folder(tmp_path) / "nobody" / "repo" / "x.gguf")
    path.with_name(".x.gguf.origin.json").write_text("{}")
    size = path.stat().st_size
    assert remove_model(catalogue.resolve("x"), catalogue, user).freed == size
    assert list(catalogue.models_dir.iterdir()) == []


def test_all_parts_go(tmp_path: Path, catalogue: Catalogue, user: UserCatalogue) -> None:
    folder = make_folder(tmp_path) / "n" / "r"
    folder.mkdir(parents=True)
    parts = write_split(folder, "big", 3)
    other = write_model(folder / "other.gguf")
    total = sum(part.stat().st_size for part in parts)
    assert remove_model(catalogue.resolve("big"), catalogue, user).freed == total
    assert list(folder.iterdir()) == [other]


def test_of_a_link_only_the_link_goes(tmp_path: Path, catalogue: Catalogue, user: UserCatalogue) -> None:
    far = write_model(tmp_path / "far.gguf")
    (make_folder(tmp_path) / "near.gguf").symlink_to(far)
    assert remove_model(catalogue.resolve("near"), catalogue, user).freed == 0
    assert far.exists()
    assert shown(catalogue) == []


def test_of_a_file_elsewhere_only_the_name_goes(tmp_path: Path, catalogue: Catalogue, user: UserCatalogue) -> None:
    far = write_model(tmp_path / "far.gguf")
    user.add_path("far", far)
    user.path.write_text("# mine\n" + user.path.read_text())
    catalogue.refresh()
    removed = remove_model(catalogue.resolve("far"), catalogue, user)
    assert (removed.freed, removed.kept) == (0, str(far))
    assert far.exists()
    assert user.path.read_text() == "# mine\n"
    assert shown(catalogue) == []


def test_what_is_not_ours_is_left_with_advice(
    tmp_path: Path, catalogue: Catalogue, user: UserCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = write_model(tmp_path / "elsewhere" / "far.gguf")
    entry = catalogue.register(far)
    with pytest.raises(InvalidRequest, match="only known while the engine runs"):
        remove_model(entry, catalogue, user)
    starter = install_starter(tmp_path, monkeypatch)
    with pytest.raises(InvalidRequest, match="lies outside the models folder"):
        remove_model(catalogue.resolve("wick"), catalogue, user)
    monkeypatch.setenv("FIRESIDE_OTHER_STORES", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = write_model(tmp_path / "hub" / "models--a--b" / "snapshots" / "c" / "cached.gguf")
    catalogue.refresh()
    with pytest.raises(InvalidRequest) as caught:
        remove_model(catalogue.resolve("cached"), catalogue, user)
    assert "`hf cache` looks after that" in caught.value.hint
    assert all(path.exists() for path in (far, starter, cached))


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, catalogue: Catalogue, user: UserCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(make_folder(tmp_path) / "x.gguf")
    entry = catalogue.resolve("x")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InvalidRequest, match="cannot be removed: Permission denied"):
        remove_model(entry, catalogue, user)
    assert path.exists()


def test_unfinished_downloads_are_thrown_away_unless_they_run(tmp_path: Path) -> None:
    models = make_folder(tmp_path)
    for name in ("one", "two"):
        folder = models / ".pull" / name
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text(json.dumps({"files": [{"name": f"{name}.gguf", "size": 100}]}))
        (folder / f"{name}.gguf.incomplete").write_bytes(bytes(40))
    handle = os.open(models / ".pull" / "two.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert [(one.name, one.done, one.total, one.busy) for one in unfinished(models)] == [
            ("one", 40, 100, False),
            ("two", 40, 100, True),
        ]
        removed, busy = remove_unfinished(models)
    finally:
        os.close(handle)
    assert ([one.name for one in removed], busy) == (["one"], ["two"])
    assert [path.name for path in (models / ".pull").glob("*/")] == ["two"]
