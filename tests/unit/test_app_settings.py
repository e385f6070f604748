"""`app.toml` and `config.toml` as `fireside config` reads and changes them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside import app_settings, toml_edit
from fireside.app_settings import AppSettings
from fireside.commands import config
from fireside.failure import Failure
from fireside_engine.models.configuration import (
    AutoSettings,
    CacheSettings,
    Configuration,
    ModelSettings,
    RemoteSettings,
)

TEXT = """\
# mine
model = "a"  # the first

[models."q-1.5b"] # big
n_ctx = 4096

[[list]]
x = 1
"""
NAMES = st.from_regex(r"[a-z0-9._ \"é-]{1,6}", fullmatch=True)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (["model"], "b", 'model = "b"'),
        (["deterministic"], True, "deterministic = true"),
        (["models", "q-1.5b", "n_ctx"], 512, "n_ctx = 512"),
        (["models", "q-1.5b", "kv_type"], "q8_0", 'kv_type = "q8_0"'),
        (["models", "new one", "n_ctx"], 1, '[models."new one"]\nn_ctx = 1'),
    ],
)
def test_a_key_is_set_and_the_rest_stays(key: list[str], value: Any, line: str) -> None:
    changed = toml_edit.set_key(TEXT, key, value)
    assert line in changed
    assert "# mine" in changed
    assert "[[list]]\nx = 1" in changed
    assert toml_edit.get_key(tomllib.loads(changed), key) == value
    removed = toml_edit.set_key(changed, key, None)
    assert toml_edit.get_key(tomllib.loads(removed), key) is None


@given(
    st.lists(
        st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.text(max_size=8) | st.booleans() | st.integers(0, 9))
    )
)
def test_what_was_set_is_read(steps: list[tuple[list[str], Any]]) -> None:
    text = ""
    for key, value in steps:
        try:
            text = toml_edit.set_key(text, key, value)
        except toml_edit.NotEditableError:
            continue
        assert toml_edit.get_key(tomllib.loads(text), key) == value


@pytest.mark.parametrize("text", ["a = {b = 1}", '"x" = """\nb = 1\n"""', "[a]\nb.c = 1"])
def test_what_is_too_clever_is_refused_or_right(text: str) -> None:
    try:
        changed = toml_edit.set_key(text, ["a", "b"], 2)
    except toml_edit.NotEditableError:
        return
    data = tomllib.loads(changed)
    assert toml_edit.get_key(data, ["a", "b"]) == 2


def test_settings_are_read_and_mistakes_named() -> None:
    assert app_settings.load() == AppSettings()
    file = app_settings.path()
    file.parent.mkdir(parents=True)
    file.write_text('save = false\n[keys]\nchat.new = "ctrl+k"\n[personas]\n"my.own" = "Be brief."\n')
    settings = app_settings.load()
    assert settings == AppSettings(save=False, keys={"chat.new": "ctrl+k"}, personas={"my.own": "Be brief."})
    assert settings.persona("my.own") == "Be brief."
    with pytest.raises(Failure, match="There is no persona") as caught:
        settings.persona("my.won")
    assert "my.own" in caught.value.hint
    for text, part in [
        ("sav = 1", "the key sav is unknown"),
        ("save = 1", "true or false"),
        ("[keys]\na = 1", "a text"),
    ]:
        file.write_text(text)
        with pytest.raises(Failure, match=re.escape(part)):
            app_settings.load()
    file.write_bytes(b"\xff")
    with pytest.raises(Failure, match="cannot be read"):
        app_settings.load()


def test_the_engines_keys_are_those_it_reads() -> None:
    assert {*config.ENGINE_KEYS, "models", "cache", "auto", "remotes"} == set(Configuration.model_fields)
    # Rules are tables, which are edited by hand.
    assert {*config.AUTO_KEYS, "rules"} == set(AutoSettings.model_fields)
    assert set(config.REMOTE_KEYS) == set(RemoteSettings.model_fields)
    assert set(config.CACHE_KEYS) == set(CacheSettings.model_fields)
    assert set(config.MODEL_KEYS) == set(ModelSettings.model_fields)
