"""Names: what a model is called, what a name means, and the words when it means nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.errors import InvalidRequest, ModelNotFound, NotAModel
from fireside_engine.models import names
from fireside_engine.models.catalogue import Catalogue, same_tokens
from fireside_engine.models.inventory import unique_name
from fireside_engine.models.starter import find_in_package
from gguf_writer import Tensor, gguf, settings, write_model, write_split
from model_home import install_starter, make_catalogue, make_folder, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make_catalogue(tmp_path)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


@pytest.fixture
def wick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_starter(tmp_path, monkeypatch)


# --- names


@given(st.text(max_size=300))
def test_shown_names_are_harmless(text: str) -> None:
    name = names.clean(text)
    assert name.isprintable() or not name
    assert len(name) <= names.MAX_SHOWN
    name.encode()
    assert names.clean(name) == name


@given(st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"]), max_size=40))
def test_names_compare_without_case(text: str) -> None:
    assert names.key(text) == names.key(names.clean(text))
    assert names.key(names.key(text)) == names.key(text)


@given(st.lists(st.text(max_size=6), max_size=12))
def test_no_two_models_share_a_name(stems: list[str]) -> None:
    taken: set[str] = set()
    given_names = [unique_name(stem, Path(f"/models/{index}"), taken) for index, stem in enumerate(stems)]
    assert len({names.key(name) for name in given_names}) == len(stems)
    assert all(given_names)


def test_names_of_strange_files(catalogue: Catalogue, folder: Path) -> None:
    for name in ("a\x1b[31mb.gguf", "\u202egnp.gguf", "cafe\u0301.gguf", "\x01\x02.gguf"):
        write_model(folder / name)
    write_model(folder / "odd.gguf").rename(folder / "odd\udcff.gguf")
    assert sorted(shown(catalogue)) == ["a[31mb", "café", "gnp", "model", "odd"]
    assert catalogue.resolve("CAFÉ").name == "café"


@pytest.mark.parametrize(
    "name",
    [
        "lamp-7b-q4_k_m",
        "LAMP-7B-Q4_K_M",
        "Lamp-7B-Q4_K_M.gguf",
        "lamp-7b-q4_k_m:latest",
        " lamp-7b-q4_k_m ",
        "lamp-7b",
        "Lamp-7B:latest",
        "lamp",
        "lamp:7b",
        "lamp-7b:q4_k_m",
        "LAMP:Q4_K_M",
    ],
)
def test_one_model_has_many_names(catalogue: Catalogue, folder: Path, name: str) -> None:
    path = write_model(folder / "Lamp-7B-Q4_K_M.gguf")
    assert catalogue.resolve(name).path == path
    assert catalogue.resolve(name).name == "Lamp-7B-Q4_K_M"


def test_the_usual_quantization_comes_first_then_the_largest_sound_one(catalogue: Catalogue, folder: Path) -> None:
    write_model(folder / "lamp-7b-q2_k.gguf", size=8)
    write_model(folder / "lamp-7b-q8_0.gguf", size=64)
    assert catalogue.resolve("lamp").name == "lamp-7b-q8_0"
    usual = write_model(folder / "lamp-7b-q4_k_m.gguf", size=32)
    assert catalogue.resolve("lamp").name == "lamp-7b-q4_k_m"
    assert catalogue.resolve("lamp:q2_k").name == "lamp-7b-q2_k"
    usual.write_bytes(b"")
    assert catalogue.resolve("lamp").name == "lamp-7b-q8_0"


def test_other_models_of_a_like_name_are_not_taken_for_it(catalogue: Catalogue, folder: Path) -> None:
    for name in ("Lamp-7B-Instruct-Q4_K_M.gguf", "my-lamp-7b-q4_k_m.gguf", "lamp-7b.gguf", "lamp-7b-q4_k_m-v2.gguf"):
        write_model(folder / name)
    assert {entry.source for entry in catalogue.list()} == {"folder"}


def test_an_unknown_name_gets_near_ones(catalogue: Catalogue, folder: Path) -> None:
    write_model(folder / "gemma-3-270m-q4_k_m.gguf")
    for name in ("gema", "gemma-3", "Gemma-3-270m-q4km", "270m"):
        with pytest.raises(ModelNotFound) as caught:
            catalogue.resolve(name)
        assert "gemma-3-270m-q4_k_m" in caught.value.details["similar"]
        assert "Did you mean gemma-3-270m-q4_k_m" in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        catalogue.resolve("zzz")
    assert caught.value.hint == "Installed: gemma-3-270m-q4_k_m."


def test_known_models_that_are_not_installed(catalogue: Catalogue, folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="known but not installed") as caught:
        catalogue.resolve("LAMP")
    assert "Lamp-7B-Q4_K_M.gguf from https://huggingface.co/nobody/Lamp-7B-GGUF" in caught.value.hint
    assert str(folder) in caught.value.hint
    assert caught.value.details["model"] == "lamp-7b"
    with pytest.raises(ModelNotFound, match="pip install wick"):
        catalogue.resolve("starter")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../secret", "/etc/passwd", "sub/near", "a\0b", "x" * 100_000, "\u202e", "..\\secret", ":", "@"],
)
def test_names_are_no_paths(catalogue: Catalogue, folder: Path, name: str) -> None:
    write_model(folder.parent / "secret.gguf")
    write_model(folder / "sub" / "near.gguf")
    with pytest.raises(ModelNotFound) as caught:
        catalogue.resolve(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# --- packages and paths


def test_a_package_is_found_but_not_imported(catalogue: Catalogue, wick: Path) -> None:
    (entry,) = catalogue.list()
    assert (entry.name, entry.path, entry.source) == ("wick", wick, "catalogue")
    assert catalogue.resolve("starter") == catalogue.resolve("WICK:latest") == entry
    assert find_in_package("wick_package", "other.gguf") is None
    assert find_in_package("no_such_package", "wick.gguf") is None


# --- registering


def test_a_registered_file_has_a_name(catalogue: Catalogue, tmp_path: Path) -> None:
    path = write_model(tmp_path / "else" / "other.gguf")
    entry = catalogue.register(path)
    assert (entry.name, entry.source, entry.path) == ("other", "registered", path)
    assert catalogue.register(path) == entry
    assert catalogue.resolve("OTHER") == entry
    assert shown(catalogue) == ["other"]
    path.unlink()
    with pytest.raises(ModelNotFound):
        catalogue.resolve("other")
    assert catalogue.list() == []


def test_registering_what_is_known_gives_its_entry(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    path = write_model(folder / "here.gguf")
    (tmp_path / "link.gguf").symlink_to(path)
    assert catalogue.register(tmp_path / "link.gguf") == catalogue.resolve("here")


def test_registered_names_are_unique_and_stay(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    write_model(folder / "same.gguf")
    first = catalogue.register(write_model(tmp_path / "a" / "same.gguf"))
    second = catalogue.register(write_model(tmp_path / "b" / "same.gguf"))
    assert first.name.startswith("same@")
    assert second.name.startswith("same@")
    assert len({first.name, second.name}) == 2
    third = catalogue.register(write_model(tmp_path / "c" / "later.gguf"))
    write_model(folder / "later.gguf")
    assert catalogue.resolve("later").path == third.path
    assert len(shown(catalogue)) == len(set(shown(catalogue))) == 5


def test_registering_any_part_registers_the_model(catalogue: Catalogue, tmp_path: Path) -> None:
    parts = write_split(tmp_path, "big", 2)
    assert catalogue.register(parts[1]).path == parts[0]
    assert shown(catalogue) == ["big"]


def test_what_cannot_be_registered(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no file missing\.gguf"):
        catalogue.register(tmp_path / "missing.gguf")
    with pytest.raises(NotAModel, match="folder"):
        catalogue.register(tmp_path)
    cut = write_model(tmp_path / "cut.gguf")
    cut.write_bytes(cut.read_bytes()[:-8])
    with pytest.raises(NotAModel, match="truncated"):
        catalogue.register(cut)
    assert catalogue.list() == []


def test_many_threads_agree(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    for index in range(8):
        write_model(folder / f"m{index}.gguf")
    path = write_model(tmp_path / "else" / "m0.gguf")
    seen: list[str] = []
    failed: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(10):
                seen.append(catalogue.register(path).name)
                catalogue.refresh()
                assert len(catalogue.list()) == 9
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(seen)) == 1


# --- the default


def test_the_default_model(
    catalogue: Catalogue, folder: Path, user_file: Path, wick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source of a default yields to the one before it in the contract."""
    assert catalogue.default().name == "wick"
    write_model(folder / "zebra.gguf")
    write_model(folder / "Apple.gguf")
    assert catalogue.default().name == "Apple"
    write_model(folder / "lamp-1b.q8_0.gguf")
    assert catalogue.default().name == "lamp-1b.q8_0"
    write_model(folder / "lamp-7b-q4_k_m.gguf")
    assert catalogue.default().name == "lamp-7b-q4_k_m"
    user_file.with_name("config.toml").write_text('model = "zebra"')
    assert catalogue.default().name == "zebra"
    monkeypatch.setenv("FIRESIDE_MODEL", "Apple")
    assert catalogue.default().name == "Apple"


def test_the_default_is_never_a_model_that_cannot_answer(catalogue: Catalogue, folder: Path) -> None:
    write_model(folder / "a-encoder.gguf", "nomic-bert")
    write_model(folder / "lamp-embed.gguf", "bert")
    (folder / "b-broken.gguf").write_bytes(b"")
    with pytest.raises(ModelNotFound):
        catalogue.default()
    write_model(folder / "c-sound.gguf")
    assert catalogue.default().name == "c-sound"


def test_a_default_that_is_not_there_says_who_asked(
    catalogue: Catalogue, user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = user_file.with_name("config.toml")
    config.write_text('model = "gone"')
    with pytest.raises(ModelNotFound, match=r"config\.toml: model: There is no model named gone"):
        catalogue.default()
    config.write_text("model = 3")
    with pytest.raises(InvalidRequest, match="model: Input should be a valid string"):
        catalogue.default()
    config.write_text("model =")
    with pytest.raises(InvalidRequest, match="TOML"):
        catalogue.default()
    monkeypatch.setenv("FIRESIDE_MODEL", "lamp")
    with pytest.raises(ModelNotFound, match="FIRESIDE_MODEL: The model lamp-7b is known but not installed"):
        catalogue.default()
    monkeypatch.setenv("FIRESIDE_MODEL", str(write_model(tmp_path / "far" / "away.gguf")))
    assert catalogue.default().name == "away"


def test_a_first_time_user_is_told_what_to_do(catalogue: Catalogue, folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="No model is installed yet") as caught:
        catalogue.default()
    assert "pip install wick" in caught.value.hint
    assert str(folder) in caught.value.hint


def _sized(path: Path, n_params: int, vocabulary: int, pre: str) -> Path:
    own = settings("llama", tokenizer__ggml__model="gpt2", tokenizer__ggml__pre=pre, llama__vocab_size=vocabulary)
    del own["tokenizer.ggml.tokens"]
    path.write_bytes(gguf(own, [Tensor("a", (n_params,))]))
    return path


def test_a_draft_model_has_the_same_tokenizer_and_is_much_smaller(catalogue: Catalogue, folder: Path) -> None:
    """Vocabularies of one family are padded differently: Qwen2.5 7B has 128 tokens more than 0.5B."""
    _sized(folder / "large.gguf", 64_000, 5_128, "qwen2")
    _sized(folder / "other-tokenizer.gguf", 6_000, 5_128, "llama3")
    _sized(folder / "too-large.gguf", 40_000, 5_128, "qwen2")
    _sized(folder / "too-many-tokens.gguf", 6_400, 5_300, "qwen2")
    assert catalogue.draft_for(catalogue.resolve("large")) is None
    small = _sized(folder / "small.gguf", 3_200, 5_000, "qwen2")
    assert catalogue.draft_for(catalogue.resolve("large")) == small
    better = _sized(folder / "small-but-larger.gguf", 9_600, 5_000, "qwen2")
    assert catalogue.draft_for(catalogue.resolve("large")) == better
    assert catalogue.draft_for(catalogue.resolve("small")) is None
    assert same_tokens(catalogue.resolve("small"), catalogue.resolve("large"))
    assert not same_tokens(catalogue.resolve("other-tokenizer"), catalogue.resolve("large"))


def test_prediction_heads_of_a_model_are_told(catalogue: Catalogue, folder: Path) -> None:
    path = folder / "heads.gguf"
    path.write_bytes(gguf({**settings("glm4moe"), "glm4moe.nextn_predict_layers": 1}, [Tensor("a", (32,))]))
    assert catalogue.resolve("heads").details["prediction_heads"] == 1
