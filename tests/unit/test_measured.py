"""Probes on disk: what was kept comes back, and any doubt is a miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from fireside_engine.core.window import Probe
from fireside_engine.worker import measured

PROBE = Probe({2: True, 3: False}, {1: 0.01, 2: 0.02}, False)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    measured.save(tmp_path / "probes", "a", PROBE)
    assert measured.load(tmp_path / "probes", "a") == PROBE
    assert [path.name for path in (tmp_path / "probes").iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"equal": 3}', '{"equal": {"x": 1}}', "\x00"])
def test_any_doubt_is_a_miss(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert measured.load(tmp_path, "a") is None


def test_a_disk_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    measured.save(blocked, "a", PROBE)
    assert "could not be kept" in caplog.text


def test_another_file_has_another_key(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"one")
    first = measured.key(path, "f16")
    assert measured.key(path, "bf16") != first
    path.write_bytes(b"other")
    assert measured.key(path, "f16") != first
