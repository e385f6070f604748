"""config.toml: what it sets, for which model, and how it is refused."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fireside_engine.errors import InvalidRequest
from fireside_engine.models.configuration import ModelSettings, load_configuration
from fireside_engine.server.engine import Engine
from fireside_engine.server.settings import Settings
from fireside_engine.worker.protocol import LoadOptions

sys.path.insert(0, str(Path(__file__).parent.parent))
from model_home import make_catalogue, make_folder, write_model

TEXT = """
model = "big"
deterministic = true

[models."Big-7B"]
n_ctx = 16384
kv_type = "q8_0"

[models.small]
deterministic = false
"""


def write(home: Path, text: str) -> Path:
    path = home / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_is_chosen_for_the_machine(home: Path) -> None:
    assert load_configuration(home / "config.toml").settings_of(["x"]) == ModelSettings()
    assert load_configuration(None).model == ""


def test_a_model_is_found_by_any_of_its_names(home: Path) -> None:
    configuration = load_configuration(write(home, TEXT))
    assert configuration.model == "big"
    big = configuration.settings_of(["big-7b-q4_k_m", "big-7b"])
    assert (big.n_ctx, big.kv_type, big.n_slots) == (16384, "q8_0", None)


def test_the_model_decides_before_the_engine(home: Path) -> None:
    configuration = load_configuration(write(home, TEXT))
    assert configuration.settings_of(["big-7b"]).deterministic is True
    assert configuration.settings_of(["small"]).deterministic is False
    assert configuration.settings_of(["other"]).deterministic is True
    assert load_configuration(write(home, "")).settings_of(["other"]).deterministic is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'x'", "modle"),
        ("model = 3", "model"),
        ("[models.a]\nn_ctx = 12", "models.a.n_ctx"),
        ("[models.a]\nkv_type = 'q2'", "models.a.kv_type"),
        ("[models.a]\ndeterministic = 'yes'", "models.a.deterministic"),
        ("[models.a]\ncache = 1", "models.a.cache"),
        ("[cache]\nbudget = 'much'", "cache.budget.*such as 2GB"),
        ("[cache]\nbudget = -1", "cache.budget"),
        ("[cache]\nsize = '2GB'", "cache.size"),
        ("model = ", "TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(home: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        load_configuration(write(home, text))
    assert "config.toml" in str(caught.value)


def test_the_cache_has_a_table(home: Path) -> None:
    default = load_configuration(None).cache
    assert (default.enabled, default.budget) == (True, None)
    chosen = load_configuration(write(home, "[cache]\nenabled = false\nbudget = '1.5 GiB'")).cache
    assert (chosen.enabled, chosen.budget) == (False, 3 * 2**29)
    assert load_configuration(write(home, "[cache]\nbudget = 5000")).cache.budget == 5000


def test_the_model_decides_before_the_cache(home: Path) -> None:
    text = "[cache]\nenabled = false\n[models.kept]\ncache = true\n"
    configuration = load_configuration(write(home, text))
    assert configuration.settings_of(["kept"]).cache is True
    assert configuration.settings_of(["other"]).cache is False
    assert load_configuration(write(home, "[models.out]\ncache = false")).settings_of(["out"]).cache is False
    assert load_configuration(write(home, "")).settings_of(["other"]).cache is None


def test_request_before_model_before_engine(tmp_path: Path) -> None:
    async def chosen(config: str, engine: bool, request: bool | None) -> LoadOptions:
        catalogue = make_catalogue(tmp_path)
        (tmp_path / "config.toml").write_text(config, encoding="utf-8")
        entry = catalogue.list()[0]
        settings = Settings(deterministic=engine)
        return Engine(catalogue, settings).resident(entry, deterministic=request).key.options

    def options(config: str = "", *, engine: bool = False, request: bool | None = None) -> LoadOptions:
        return asyncio.run(chosen(config, engine, request))

    write_model(make_folder(tmp_path) / "candle.gguf")
    name = make_catalogue(tmp_path).list()[0].name
    no = f'[models."{name}"]\ndeterministic = false\nn_ctx = 512\n'
    assert options() == LoadOptions()
    assert options(engine=True).deterministic
    assert options("deterministic = true").deterministic
    assert not options(no, engine=True).deterministic
    assert options(no, engine=True).n_ctx == 512
    assert options(no, request=True).deterministic
    assert not options("deterministic = true", request=False).deterministic
