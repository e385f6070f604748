"""Programs for the command line and coding agents, told what `fireside connect` prints, nothing more."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from conftest import Client, Engine

pytestmark = pytest.mark.model


def exported(lines: str) -> dict[str, str]:
    """The variables that lines for a shell set."""
    words = [word for line in lines.splitlines() if line.startswith("export ") for word in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("client", ["llm"], indirect=True)
def test_llm(engine: Engine, client: Client) -> None:
    folder = client.home / "llm"
    folder.mkdir()
    (folder / "extra-openai-models.yaml").write_text(engine.lines("llm", "coder"), encoding="utf-8")
    there = {"LLM_USER_PATH": str(folder), "OLLAMA_HOST": engine.url}
    assert "fireside" in client.run("models", **there)
    asked = ("-m", "fireside", "-o", "temperature", "0", "-o", "max_tokens", "30")
    streamed = client.run(*asked, "Say hello.", **there)
    assert "hello" in streamed.lower()
    assert client.run(*asked, "--no-stream", "Say hello.", **there).strip() == streamed.strip()
    assert "2" in client.run(*asked, "-c", "What is 1 + 1?", **there)
    version = client.run("--version").strip()
    ollama = client.run("-m", "coder", "-o", "temperature", "0", "-o", "num_predict", "20", "Say hello.", **there)
    assert "hello" in ollama.lower()
    print(version)


@pytest.mark.parametrize("client", ["llm"], indirect=True)
def test_llm_with_schemas_and_tools(engine: Engine, client: Client) -> None:
    folder = client.home / "llm"
    folder.mkdir()
    (folder / "extra-openai-models.yaml").write_text(engine.lines("llm", "coder"), encoding="utf-8")
    there = {"LLM_USER_PATH": str(folder)}
    asked = ("-m", "fireside", "-o", "temperature", "0", "-o", "max_tokens", "100")
    person = json.loads(client.run(*asked, "--schema", "name, age int", "Anna is 34 years old.", **there))
    assert person == {"name": "Anna", "age": 34}
    tool = 'def weather(city: str) -> str:\n    "The weather in a city."\n    return "snow in " + city\n'
    said = client.run(*asked, "--functions", tool, "--td", "What is the weather in Rome?", with_stderr=True, **there)
    assert "weather({'city': 'Rome'})" in said
    assert "snow in Rome" in said


@pytest.mark.parametrize("client", ["aider"], indirect=True)
def test_aider_edits_a_file(engine: Engine, client: Client, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    file = project / "greet.py"
    file.write_text('def greet(name):\n    return "Hello " + name\n', encoding="utf-8")
    (client.home / ".aider.model.settings.yml").write_text("", encoding="utf-8")
    words = ["--model", "openai/coder", "--edit-format", "whole", "--no-git", "--yes-always", "--no-check-update"]
    words += ["--no-show-model-warnings", "--analytics-disable", "--map-tokens", "0", "--no-detect-urls"]
    words += ["--message", 'Change "Hello" to "Goodbye" in greet.', "greet.py"]
    client.run(*words, where=project, **exported(engine.lines("aider", "coder")))
    assert "Goodbye" in file.read_text(encoding="utf-8")
    print(client.run("--version").strip())


@pytest.mark.parametrize("client", ["cn"], indirect=True)
def test_continue(engine: Engine, client: Client, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"name: fireside\nversion: 0.0.1\nschema: v1\n{engine.lines('continue', 'coder')}\n")
    said = client.run("-p", "--config", str(config), "Answer with one word: what is the capital of France?")
    assert "paris" in said.lower()
    print(client.run("--version").strip())


@pytest.mark.parametrize("client", ["claude"], indirect=True)
def test_claude_code(engine: Engine, client: Client) -> None:
    there = exported(engine.lines("claude", "coder")) | {
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "40",
        "DISABLE_TELEMETRY": "1",
    }
    words = ("-p", "--tools", "", "--system-prompt", "You answer with one word.", "--output-format", "json")
    done = json.loads(client.run(*words, "What is the capital of France?", **there))
    assert "paris" in done["result"].lower()
    assert not done["is_error"]
    assert done["usage"]["output_tokens"] > 0
    print(client.run("--version").strip())


@pytest.mark.parametrize("client", ["codex"], indirect=True)
def test_codex(engine: Engine, client: Client, tmp_path: Path) -> None:
    """Its own prompt is ten thousand tokens, so the small model reads it."""
    folder = client.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(engine.lines("codex", "small"), encoding="utf-8")
    words = ("exec", "--json", "--skip-git-repo-check", "-s", "read-only", "Say hello. Do not use any tool.")
    lines = [json.loads(line) for line in client.run(*words, where=tmp_path).splitlines()]
    items = [line["item"] for line in lines if line["type"] == "item.completed"]
    assert [item for item in items if item["type"] == "agent_message" and item["text"]], lines
    (turn,) = [line for line in lines if line["type"] == "turn.completed"]
    assert turn["usage"]["input_tokens"] > 3000
    print(client.run("--version").strip(), turn["usage"])


@pytest.mark.parametrize("client", ["opencode"], indirect=True)
def test_opencode(engine: Engine, client: Client, tmp_path: Path) -> None:
    (tmp_path / "opencode.json").write_text(engine.lines("opencode", "small"), encoding="utf-8")
    said = client.run("run", "--pure", "-m", "fireside/small", "Say hello.", where=tmp_path)
    assert re.search(r"\w", said)
    print(client.run("--version").strip(), repr(said[-200:]))


@pytest.mark.parametrize("client", ["pi"], indirect=True)
def test_pi(engine: Engine, client: Client, tmp_path: Path) -> None:
    provider = {
        "baseUrl": f"{engine.url}/v1",
        "api": "openai-completions",
        "apiKey": "none",
        "models": [{"id": "coder"}],
    }
    folder = client.home / ".pi" / "agent"
    folder.mkdir(parents=True)
    (folder / "models.json").write_text(json.dumps({"providers": {"fireside": provider}}), encoding="utf-8")
    (tmp_path / "note.txt").write_text("The secret word is marzipan.\n", encoding="utf-8")
    words = ("--provider", "fireside", "--model", "coder", "--offline", "--no-session", "-p", "@note.txt")
    said = client.run(*words, "What is the secret word? Answer with it.", where=tmp_path, PI_OFFLINE="1")
    assert "marzipan" in said.lower()
    print(client.run("--version").strip())
