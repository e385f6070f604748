"""The user's models.toml is edited without a word of theirs being lost."""

from __future__ import annotations

import multiprocessing
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.errors import InvalidRequest
from fireside_engine.models.user_catalogue import UserCatalogue, add_model, remove_model

OWN = """\
# My models. Do not touch!
[models.qwen3-8b]   # the good one
context = 8192      # more is too slow here

  # from the other disk
[models."gemma.2b"]
source = { kind = "path", path = "/big/gemma.gguf" }  # link

# the last
[models.old.source]
kind = "path"
path = "/old.gguf"
"""

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True)
COMMENTS = st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "Zs"]), max_size=20), max_size=4)


def entry(path: str) -> dict[str, str]:
    return {"source": f'{{ kind = "path", path = "{path}" }}'}


def test_adding_changes_nothing_before() -> None:
    changed = add_model(OWN, "new.one", entry("/x.gguf"))
    assert changed.startswith(OWN)
    assert tomllib.loads(changed)["models"]["new.one"] == {"source": {"kind": "path", "path": "/x.gguf"}}


def test_removing_takes_the_tables_of_one_model_only() -> None:
    changed = remove_model(OWN, "gemma.2b")
    assert changed == OWN.replace(
        '[models."gemma.2b"]\nsource = { kind = "path", path = "/big/gemma.gguf" }  # link\n', ""
    )
    assert remove_model(OWN, "old").endswith("# the last\n")


@given(comments=COMMENTS, names=st.lists(NAMES, min_size=1, max_size=5, unique=True), data=st.data())
def test_comments_survive_any_edits(comments: list[str], names: list[str], data: st.DataObject) -> None:
    text = "".join(f"# {comment}\n" for comment in comments) + "[families.x]\ntitle = 'X'\npublisher = 'Y'\n"
    begin = text
    for name in names:
        text = add_model(text, name, entry(f"/{name}.gguf"))
    for name in data.draw(st.permutations(names)):
        text = remove_model(text, name)
        assert text.startswith(begin.rstrip("\n"))
    assert text.strip() == begin.strip()


@pytest.mark.parametrize(
    "text",
    [
        "models = { a = { source = { kind = 'path', path = 'x' } } }\n",
        "[models]\na = { source = { kind = 'path', path = 'x' } }\n",
        "[models]\na.source.kind = 'path'\na.source.path = 'x'\n",
        "[models.a]\ndescription = '''\n[models.b]\n'''\nsource = {kind = 'path', path = 'x'}\n[models.b]\n",
        "[models.a",
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        UserCatalogue(path).remove("a")
    assert str(path) in caught.value.message
    assert caught.value.hint or "TOML" in caught.value.message
    assert path.read_text() == text


def test_a_path_gets_a_name_once(tmp_path: Path) -> None:
    user = UserCatalogue(tmp_path / "config" / "models.toml")
    assert user.add_path("My Model: Größe?", Path("/a b.gguf")) == "my-model-gr-e"
    assert user.add_path("My Model: Größe?", Path("/a b.gguf")) == "my-model-gr-e"
    assert user.add_path("My Model: Größe?", Path("/other.gguf")) == "my-model-gr-e-2"
    assert user.add_path("", Path('/"quoted"\\.gguf')) == "model"
    assert user.tables()["models"]["model"]["source"]["path"] == '/"quoted"\\.gguf'
    user.remove("my-model-gr-e")
    assert list(user.tables()["models"]) == ["my-model-gr-e-2", "model"]


def test_a_link_stays_a_link_and_modes_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    real.chmod(0o640)
    link = tmp_path / "models.toml"
    link.symlink_to(real)
    UserCatalogue(link).add_path("x", Path("/x.gguf"))
    assert link.is_symlink()
    assert real.read_text().startswith("# mine\n\n[models.x]\n")
    assert real.stat().st_mode & 0o777 == 0o640


def _add(path: Path, number: int) -> None:
    UserCatalogue(path).add_path(f"m{number}", Path(f"/m{number}.gguf"))


def test_edits_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text("# kept\n")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(UserCatalogue(path).tables()["models"]) == ["m0", "m1", "m2", "m3"]
    assert path.read_text().startswith("# kept\n")
