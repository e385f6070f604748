"""The other commands, the words about mistakes, and how little a start loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli_driver import fireside, serving, start, started_by_clients, to_end, until
from fireside_engine import __version__, address
from scripted_engine import VARIABLE, Script

HEAVY = {
    "textual", "rich", "llama_cpp", "numba", "numpy", "pydantic", "huggingface_hub", "asyncio", "starlette",
    "uvicorn", "jinja2", "psutil", "platformdirs", "http.client", "email", "ssl", "difflib",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    return set(done.stdout.decode().splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import fireside",
        "import fireside.cli",
        "from fireside.cli import main; main(['--help'])",
        "from fireside.cli import main; main(['--version'])",
        "from fireside.cli import main; main(['run', '--help'])",
    ],
)
def test_a_start_loads_nothing_heavy(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_a_whole_request_loads_nothing_heavy() -> None:
    with serving(Script(text=["a"])):
        assert not loaded_by("from fireside.cli import main; assert main(['run', '--stdin=never', 'hi']) == 0") & HEAVY


def test_help_and_version() -> None:
    done = fireside("--help")
    assert (done.code, done.err) == (0, b"")
    for word in (b"run", b"serve", b"doctor", b"FIRESIDE_MODEL", b"130  interrupted"):
        assert word in done.out
    assert fireside("-h") == fireside("help") == done
    assert fireside("--version").out == f"fireside {__version__}\n".encode()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["rnu", "x"], ["Unknown command: rnu", "Did you mean `run`?"]),
        (["why is the sky blue?"], ["Unknown command", 'fireside run "…"']),
        (["--vresion"], ["Unknown option: --vresion", "Did you mean `--version`?"]),
        (["run", "--temprature=1", "x"], ["Unknown option: --temprature", "Did you mean `--temperature`?"]),
        (["run", "-z", "x"], ["Unknown option: -z", "fireside run --help"]),
        (["run", "--mod", "x"], ["Unknown option: --mod", "Did you mean `--model`?"]),
        (["ps", "x"], ["Unexpected argument", "x"]),
        (["run", "-t"], ["expected one argument", "fireside run --help"]),
        (["stop", "tiny", "--all"], ["not both"]),
        (["serve", "--port", "70000"], ["70000 is no port"]),
        ([], ["needs a terminal", "fireside run"]),
        (["chat"], ["needs a terminal", "--plain"]),
    ],
)
def test_mistakes_are_explained(words: list[str], parts: list[str]) -> None:
    done = fireside(*words)
    assert (done.code, done.out) == (2, b"")
    for part in parts:
        assert part in done.err.decode()
    assert b"\x1b" not in done.err


def test_ps() -> None:
    assert fireside("ps").out == b"No engine runs.\n"
    assert json.loads(fireside("ps", "--json").out) == {"running": False, "models": []}
    with serving() as engine:
        done = fireside("ps")
        assert done.code == 0
        assert f"http://127.0.0.1:{engine.port}" in done.out.decode()
        assert "leaves after 30 min without work" in done.out.decode()
        row = done.out.decode().splitlines()[-1].split()
        assert row == ["tiny", "ready", "8,192", "4", "f16", "all", "310", "MB", "305", "MB", "1", "0", "14", "min"]
        assert json.loads(fireside("ps", "--json").out)["models"][0]["info"]["n_ctx"] == 8192
        engine.loaded = []
        assert fireside("ps").out.endswith(b"No model is loaded.\n")


def test_models() -> None:
    with serving():
        lines = fireside("models").out.decode().splitlines()
        assert [line.split()[0] for line in lines] == ["NAME", "tiny", "other"]
        assert lines[1].endswith("loaded")
        assert json.loads(fireside("models", "--json").out)["data"][1]["id"] == "other"


def test_stop() -> None:
    assert fireside("stop").out == fireside("stop", "tiny").out == b"No engine runs.\n"
    with serving() as engine:
        assert fireside("stop", "tiny").out == b"tiny is unloaded.\n"
        assert fireside("stop", "--all").out == b"tiny is unloaded.\n"
        assert engine.requests == [("/fireside/unload", {"model": "tiny"})] * 2
        done = fireside("stop", "nothing")
        assert (done.code, b"No model nothing." in done.err) == (4, True)
        assert fireside("stop").out == b"The engine has stopped.\n"
        until(engine.stopped.is_set)


def test_stop_all_names_a_model_once_that_is_loaded_in_two_ways() -> None:
    with serving() as engine:
        engine.loaded = ["tiny", "other", "tiny"]
        assert fireside("stop", "--all").out == b"tiny is unloaded.\nother is unloaded.\n"


def test_serve_becomes_the_engine_unless_one_runs(tmp_path: Path) -> None:
    environment = started_by_clients(tmp_path / "site")
    process = start("serve", "--port", "0", env=environment)
    while address.read_record() is None:
        assert process.poll() is None
    record = address.read_record()
    assert record is not None
    assert record.pid == process.pid
    done = fireside("serve")
    assert (done.code, b"runs already" in done.err) == (2, True)
    assert fireside("stop").code == 0
    assert to_end(process).code == 0


def test_a_request_starts_the_engine_and_others_find_it(tmp_path: Path) -> None:
    environment = {**started_by_clients(tmp_path / "site"), VARIABLE: '{"text": ["hello"], "slow_start": 0.2}'}
    both = [start("run", "hi", env=environment) for _ in range(2)]
    assert [to_end(process) for process in both] == [(0, b"hello\n", b"")] * 2
    assert len(list(address.runtime_dir().glob("started-*"))) == 1
    # It outlives the clients that started it.
    assert fireside("run", "hi").out == b"hello\n"
    assert fireside("stop").out == b"The engine has stopped.\n"


def test_an_engine_that_cannot_start_is_explained(tmp_path: Path) -> None:
    environment = {**started_by_clients(tmp_path / "site"), VARIABLE: '{"dies": "ImportError: no numpy"}'}
    done = fireside("run", "hi", env=environment)
    assert (done.code, done.out) == (3, b"")
    assert b"exit status 1" in done.err
    assert b"ImportError: no numpy" in done.err


def test_an_engine_of_another_protocol_is_explained() -> None:
    with serving(Script(version="9.0", protocol=99)):
        done = fireside("run", "hi")
        assert done.code == 3
        assert b"9.0" in done.err
        assert b"fireside stop" in done.err
        assert fireside("stop").code == 0


def test_doctor_looks_without_starting_anything(home: Path) -> None:
    done = fireside("doctor")
    assert done.code == 0, done
    assert b"llama-cpp-python" in done.out
    assert str(home).encode() in done.out
    assert not any(home.iterdir())
    (home / "data").write_text("in the way")
    done = fireside("doctor", "--json")
    checks = {check["name"]: check["verdict"] for check in json.loads(done.out)["checks"]}
    assert (done.code, checks["data"], checks["llama.cpp"]) == (1, "broken", "ok")


def test_plain_chat_in_a_pipe() -> None:
    with serving(Script(text=["An answer."])) as engine:
        done = fireside("chat", "--plain", "-m", "tiny", "-s", "Be brief.", stdin=b"one\ntwo\n")
        assert done == (0, b"Model: An answer.\n" * 2, b"")
        assert [message["content"] for message in engine.requests[1][1]["messages"]] == [
            "Be brief.",
            "one",
            "An answer.",
            "two",
        ]
        assert fireside("chat", env={**os.environ, "FIRESIDE_PLAIN": "1"}, stdin=b"x").out == b"Model: An answer.\n"


def test_a_defect_is_one_line_and_a_file(tmp_path: Path, home: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import fireside.prompt\nfireside.prompt.lay_out = lambda *_: 1 / 0\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = fireside("run", "hi", env=environment)
    assert done.code == 1
    assert b"ZeroDivisionError" in done.err
    assert b"Traceback" not in done.err
    assert "Traceback" in (home / "logs" / "client-error.txt").read_text()
