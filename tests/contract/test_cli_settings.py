"""Settings, personas, completions, the manual, and loading ahead, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_driver import fireside, serving
from fireside.cli import COMMANDS
from fireside.parsers import options_of, parser_of
from scripted_engine import Script


def test_config_changes_files_that_others_read(home: Path) -> None:
    assert b"nothing is set" in fireside("config").out
    assert fireside("config", "set", "models.qwen2.5-1.5b.n_ctx", "4096").code == 0
    assert fireside("config", "set", "personas.brief", "Be brief.").code == 0
    assert fireside("config", "set", "save", "false").code == 0
    assert (home / "config" / "config.toml").read_text() == '[models."qwen2.5-1.5b"]\nn_ctx = 4096\n'
    assert fireside("config", "get", "models.qwen2.5-1.5b.n_ctx").out == b"4096\n"
    assert fireside("config", "get", "save").out == b"false\n"
    assert fireside("config", "path").out.decode().splitlines() == [
        str(home / "config" / "config.toml"),
        str(home / "config" / "app.toml"),
    ]
    with serving() as engine:
        assert fireside("run", "-p", "brief", "hi").code == 0
        assert engine.last_asked["messages"][0] == {"role": "system", "content": "Be brief."}
        assert engine.last_asked["fireside"]["save"] is False
        assert fireside("run", "-p", "breif", "hi").code == 2
    assert fireside("ls").out == b""
    assert fireside("config", "unset", "save").code == 0
    assert fireside("config", "get", "save").code == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["set", "modle", "x"], "Did you mean `model`"),
        (["set", "save", "yes"], "true or false"),
        (["set", "models.a.n_ctx", "-1"], "whole number"),
        (["set", "save"], "needs KEY VALUE"),
        (["get"], "needs KEY"),
        (["get", "save", "x"], "Unexpected argument"),
        (["sett"], "invalid choice"),
    ],
)
def test_mistakes_of_config(words: list[str], part: str) -> None:
    done = fireside("config", *words)
    assert (done.code, done.out) == (2, b"")
    assert part in done.err.decode()


def test_config_edit_opens_the_editor(home: Path) -> None:
    environment = {**os.environ, "VISUAL": "", "EDITOR": "touch"}
    assert fireside("config", "edit", "app", env=environment).code == 0
    assert (home / "config" / "app.toml").is_file()
    (home / "config" / "app.toml").write_text("= broken")
    done = fireside("run", "hi")
    assert (done.code, b"app.toml" in done.err) == (2, True)


def test_a_dry_run_asks_nothing() -> None:
    with serving() as engine:
        fireside("run", "first")
        done = fireside("run", "-c", "-f", "-", "--dry-run", "what?", stdin=b"piped \x1b[31m")
        assert done.code == 0
        assert done.out == b"[user]\nfirst\n\n[assistant]\nfirst\n\n[user]\n```\npiped \n```\n\nwhat?\n"
        assert b"about " in done.err
        assert len(engine.requests) == 1


def test_warm() -> None:
    with serving(Script()) as engine:
        done = fireside("warm", "tiny", "--deterministic")
        assert (done.code, done.err) == (0, b"")
        assert engine.requests == [("/fireside/load", {"model": "tiny", "deterministic": True})]


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    program = (
        f'source "{script}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fireside; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program, "bash", "fireside", *words], capture_output=True, check=True, timeout=20
    )
    return done.stdout.decode().split()


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    script = tmp_path / "fireside.bash"
    script.write_bytes(fireside("completions", "bash").out)
    assert complete(script, "se") == ["search", "serve", "service"]
    assert complete(script, "run", "--sc") == ["--schema"]
    assert complete(script, "run", "--thinking", "s") == ["show"]
    assert complete(script, "run", "--seed", "") == []
    assert complete(script, "completions", "z") == ["zsh"]


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])])
def test_other_shells_know_every_command_and_option(shell: str, check: list[str], tmp_path: Path) -> None:
    text = fireside("completions", shell).out.decode()
    for command in COMMANDS:
        assert command in text
        for option in options_of(parser_of(command)):
            for flag in option.flags:
                assert (flag if shell == "zsh" else flag.lstrip("-")) in text
    if shutil.which(check[0]):
        (tmp_path / "script").write_text(text)
        subprocess.run([*check, str(tmp_path / "script")], check=True, timeout=20)


def test_the_manual_has_every_command_and_troff_reads_it(tmp_path: Path) -> None:
    text = fireside("completions", "man").out.decode()
    for command in COMMANDS:
        assert f".SS fireside {command}\n" in text
    assert "\\-\\-schema" in text
    if shutil.which("groff"):
        page = tmp_path / "fireside.1"
        page.write_text(text)
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", "-Kutf8", str(page)],
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert b"warning" not in done.stderr, done.stderr
        assert "fireside run" in done.stdout.decode()


def test_completions_are_made_without_the_engine() -> None:
    program = "import sys; from fireside.cli import main; main(['completions', 'bash']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert not {"textual", "pydantic", "llama_cpp"} & set(done.stdout.decode().splitlines()[-1].split())
