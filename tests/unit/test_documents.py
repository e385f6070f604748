"""What the documents say of the program, compared with the program."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from fireside.arguments import Parser
from fireside.cli import COMMANDS
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside_engine import __version__

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engine" / "fireside_engine"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
LOG = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def calls(script: str) -> list[list[str]]:
    """The words of each call of `fireside` in lines of shell: between pipes and `&&`, without what is redirected."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            if words[:1] == ["fireside"]:
                found.append(words[1:])
            words = []
    return found


README_CALLS = [call for block in blocks(README, "sh") for call in calls(block)]


class Parsed(Exception):
    """The command line is valid; the command is not carried out."""


def parse(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises Parsed, or the Failure that a user would see."""
    read = Parser.read

    def read_only(self: Parser, given: Sequence[str]) -> None:
        raise Parsed(read(self, given))

    monkeypatch.setattr(Parser, "read", read_only)
    import_module(f"fireside.commands.{COMMANDS[words[0]].module}").main(words[1:])


def section(text: str, title: str) -> str:
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[1]


def test_the_readme_has_its_two_commands_each_in_a_block_of_its_own() -> None:
    shell = blocks(README, "sh")
    assert 'pip install ".[starter]" && fireside run "Why is the sky blue?"\n' in shell
    assert 'pip install ".[test]" && pytest -n 2\n' in shell


def test_the_readme_shows_every_command() -> None:
    assert {call[0] for call in README_CALLS if call} >= set(COMMANDS)
    assert [] in README_CALLS, "the chat, which is opened without a command"


@pytest.mark.parametrize("words", [call for call in README_CALLS if call], ids=shlex.join)
def test_what_the_readme_types_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Parsed):
        parse(words, monkeypatch)


def test_a_wrong_option_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = calls("git diff | fireside run --no-such-option 'Review this.' > answer.txt")
    assert words == ["run", "--no-such-option", "Review this."]
    with pytest.raises(Failure, match="--no-such-option"):
        parse(words, monkeypatch)


def test_python_in_the_readme_compiles() -> None:
    programs = blocks(README, "python")
    assert programs
    for program in programs:
        compile(program, "README.md", "exec")


def test_the_table_of_exit_codes_is_the_enum() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section(README, "Exit codes"), flags=re.MULTILINE)
    assert rows == [(str(code.value), code.sentence) for code in ExitCode]


def test_numbers_called_proven_stand_in_the_log() -> None:
    claims = section(README, "What is proven so far").partition("**Not yet:**")[0]
    words = [word.strip(".,;:()") for word in claims.split()]
    # A single digit is a count, and a name such as 1.5B is no number.
    numbers = [word for word in words if re.fullmatch(r"\d[\d.,]+", word)]
    assert numbers
    assert [number for number in numbers if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![.,]?\d)", LOG)] == []


def test_the_version_is_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    source = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{__version__}"' in source.read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", changelog, flags=re.MULTILINE)


def test_every_path_of_the_architecture_exists() -> None:
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|toml|md)|/))`", ARCHITECTURE)) - {"/fireside/"}
    assert len(named) > 60
    # lone words such as `core/` are looked for in the engine, whole paths in the repository
    missing = [path for path in named if not (ROOT / path).exists() and not (ENGINE / path).exists()]
    assert not missing


def test_every_package_has_its_place_in_the_architecture() -> None:
    packages = [path.parent.name for path in ENGINE.glob("*/__init__.py")]
    assert "core" in packages
    assert [name for name in packages if f"{name}/" not in ARCHITECTURE] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_every_variable_in_the_documents_is_read_by_the_program() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for folder in (ROOT / "app", ROOT / "engine", ROOT / "tests")
        for path in folder.rglob("*.py")
        if path != Path(__file__)
    )
    named = {name for path in DOCUMENTS for name in re.findall(r"FIRESIDE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert "FIRESIDE_HOME" in named
    assert {name for name in named if name not in sources} == set()
