"""The lines for editors: complete, in the documentation too, and pointing at routes that there are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from fireside.cli import main
from fireside.editors import EDITORS, lines_for, page

ROOT = Path(__file__).parents[2]


def lines(name: str) -> str:
    return lines_for(EDITORS[name], host="127.0.0.1", port=11555, model="small", key="none")


@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_is_told_where_the_engine_is(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", name, "-m", "small"]) == 0
    out = capfd.readouterr().out
    assert out == lines(name) + "\n"
    assert "11555" in out
    assert not re.search(r"\{(url|model|key|host|port)\}", out)


def test_the_documentation_shows_the_same() -> None:
    shown = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")
    assert page(host="127.0.0.1", port=11555, model="MODEL", key="none") in shown


def test_lines_are_what_their_files_want() -> None:
    assert tomllib.loads(lines("codex"))["model_providers"]["fireside"]["wire_api"] == "responses"
    assert json.loads(lines("opencode"))["provider"]["fireside"]["options"]["baseURL"] == "http://127.0.0.1:11555/v1"
    for name in ("zed", "copilot"):
        assert json.loads("{" + lines(name) + "}")
    assert json.loads("{" + lines("llama.vscode").rstrip(",") + "}")


def test_an_unknown_editor_is_guessed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "codx"]) == 2
    assert "codex" in capfd.readouterr().err
    assert main(["connect"]) == 0
    assert "minuet" in capfd.readouterr().out


def test_a_key_is_not_shown(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESIDE_API_KEY", "s3cret")
    assert main(["connect", "aider"]) == 0
    both = capfd.readouterr()
    assert "s3cret" not in both.out + both.err
    assert "YOUR-API-KEY" in both.out
