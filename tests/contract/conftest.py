"""Fixtures of tests that fetch: a hub on loopback, and where models come to lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fireside_engine import address
from pull_driver import LAMP, NAME, REPO, model
from stand_in_hub import StandInHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    with closing(StandInHub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add(REPO, {f"{NAME}.gguf": LAMP, "Lamp-7B-Q8_0.gguf": model(300_000, 2), "README.md": b"Lamp"})
        yield hub


@pytest.fixture
def models(home: Path) -> Path:
    return address.models_dir()
