"""`fireside run` as a process: standard output, standard error and exit code, whatever the streams are tied to."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli_driver import Done, Terminal, fireside, serving, start, to_end
from scripted_engine import Script

TEXT = ["Hello", " \x1b[31mred", "\x1b]0;ti", "tle\x07 wörld\n", "second line"]
CLEAN = "Hello red wörld\nsecond line\n".encode()
BUSY = Script(
    text=TEXT,
    loading=[("reading", 0.5)],
    progress=[(3120, 2048, 2048), (3120, 2048, 2600)],
)
CRASH: dict[str, Any] = {
    "code": "worker_crashed",
    "message": "The model's process died (SIGKILL).",
    "hint": "Ask again.",
    "log": ["ggml: out of luck"],
}


class Case(NamedTuple):
    name: str
    words: tuple[str, ...]
    script: Script
    code: int
    out: bytes
    err: tuple[str, ...] = ()
    """Parts that standard error must hold; none: it must be empty."""


def failing(code: str, status: int, message: str, **details: object) -> Script:
    return Script(error={"code": code, "message": message, **details}, status=status)


CASES = [
    Case("answer", ("run", "hi"), BUSY, 0, CLEAN),
    Case("empty answer", ("run", "hi"), Script(text=[]), 0, b"\n"),
    Case("quiet", ("run", "-q", "hi"), BUSY, 0, CLEAN),
    Case("statistics", ("run", "--stats", "hi"), BUSY, 0, CLEAN, ("4 from cache", "400.0 tokens/s", "seed 7")),
    Case(
        "crash",
        ("run", "hi"),
        Script(text=["half an", " answer"], stop_at=1, error=CRASH),
        3,
        b"half an",
        ("The model's process died", "Ask again.", "ggml: out of luck"),
    ),
    Case("gone", ("run", "hi"), Script(text=["half"], stop_at=1), 3, b"half", ("went away in the middle",)),
    Case(
        "too long",
        ("run", "hi"),
        failing("context_exceeded", 400, "The prompt has 100,000 tokens, the context holds 8,192."),
        5,
        b"",
        ("100,000 tokens", "8,192"),
    ),
    Case(
        "no model", ("run", "-m", "x", "hi"), failing("model_not_found", 404, "No model x."), 4, b"", ("No model x.",)
    ),
    Case("no file", ("run", "-m", "./x.gguf", "hi"), Script(), 4, b"", ("No such model file: ./x.gguf",)),
    Case("no memory", ("run", "hi"), failing("insufficient_memory", 503, "It needs 9 GB."), 4, b"", ("9 GB",)),
    Case("overloaded", ("run", "hi"), failing("overloaded", 429, "Too many wait."), 3, b"", ("Too many wait.",)),
    Case("defect", ("run", "hi"), failing("internal_error", 500, "A defect."), 1, b"", ("A defect.",)),
    Case("refused", ("run", "-t", "9", "hi"), failing("invalid_request", 400, "Too hot."), 2, b"", ("Too hot.",)),
    Case("bad schema", ("run", "--schema", "{", "hi"), Script(), 2, b"", ("--schema is no JSON",)),
    Case(
        "cut JSON",
        ("run", "--schema", "{}", "-n", "2", "hi"),
        Script(text=['{"a":'], finish_reason="length"),
        1,
        b'{"a":\n',
        ("cut off", "-n"),
    ),
    Case("no JSON", ("run", "--schema", "true", "hi"), Script(text=["{]"]), 1, b"{]\n", ("not valid JSON",)),
    Case("JSON", ("run", "--schema", '{"type":"object"}', "hi"), Script(text=['{"a"', ":1}"]), 0, b'{"a":1}\n'),
    Case("words for a schema", ("run", "--schema", "name, age:ent", "hi"), Script(), 2, b"", ("unknown type “ent”",)),
    Case("code", ("run", "-x", "sql", "hi"), Script(text=["So:\n```py\n1\n```\n```sql\n2", "\n```"]), 0, b"2\n"),
    Case("any code", ("run", "hi", "-x"), Script(text=["So:\n```py\n1\n```\n```sql\n2\n```"]), 0, b"1\n"),
    Case("no code", ("run", "hi", "-x"), Script(text=["None."]), 1, b"", ("no code block", "fireside show last")),
    Case("thinking", ("run", "hi"), Script(text=["<thi", "nk>hm</think>\n\nSo."]), 0, b"So.\n"),
    Case(
        "shown thinking",
        ("run", "--thinking", "show", "hi"),
        Script(text=["<think>h\x1b[1mm</th", "ink>So."]),
        0,
        b"So.\n",
        ("hm\n\n",),
    ),
    Case("two forms", ("run", "--json", "--ndjson", "hi"), Script(), 2, b"", ("not allowed with",)),
    Case("many of nothing", ("run", "--multi", "hi"), Script(), 2, b"", ("--multi needs --schema",)),
    Case("nothing to ask", ("run",), Script(), 2, b"", ("nothing to ask",)),
    Case("two shapes", ("run", "--schema", "{}", "--regex", "a", "x"), Script(), 2, b"", ("not allowed with",)),
    Case("no number", ("run", "-t", "nan", "hi"), Script(), 2, b"", ("'nan' is no number",)),
    Case("no tokens", ("run", "-n", "0", "hi"), Script(), 2, b"", ("0 is not above 0",)),
]


def check(case: Case, done: Done) -> None:
    assert (done.code, done.out) == (case.code, case.out), done.err.decode()
    for part in case.err:
        assert part in done.err.decode()
    if not case.err:
        assert done.err == b""
    assert b"Traceback" not in done.err
    assert b"\x1b" not in done.out + done.err


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_in_a_pipe(case: Case) -> None:
    with serving(case.script):
        check(case, fireside(*case.words))


@pytest.mark.parametrize("case", CASES[:5], ids=[case.name for case in CASES[:5]])
def test_into_a_file(case: Case, tmp_path: Path) -> None:
    with serving(case.script), (tmp_path / "out").open("w+b") as out:
        code, _, err = to_end(start(*case.words, stdout=out))
        check(case, Done(code, (tmp_path / "out").read_bytes(), err))


@pytest.mark.parametrize("case", CASES[:6], ids=[case.name for case in CASES[:6]])
def test_on_a_terminal_the_answer_has_the_same_bytes(case: Case, terminal: Terminal) -> None:
    with serving(case.script):
        code, _, err = to_end(start(*case.words, stdin=terminal.slave, stdout=terminal.slave))
    out = terminal.drain()
    if case.code:
        # What follows a piece of an answer begins on a line of its own.
        out = out.removesuffix(b"\n")
    check(case, Done(code, out, err))


@pytest.fixture
def terminal() -> Any:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_progress_is_drawn_on_a_terminal_and_taken_away(terminal: Terminal) -> None:
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with serving(BUSY):
        code, out, _ = to_end(start("run", "hi", stderr=terminal.slave, env=environment))
    assert (code, out) == (0, CLEAN)
    screen = terminal.drain().decode()
    assert "loading tiny: reading 50%" in screen
    assert "reading 2,600/3,120 tokens, 2,048 from cache" in screen
    assert "▒" in screen
    assert screen.endswith("\r\x1b[K")
    assert "\n" not in screen


@pytest.mark.parametrize(("words", "variables"), [(["-q"], {}), ([], {"TERM": "dumb"})])
def test_no_escape_byte_where_it_is_not_wanted(words: list[str], variables: dict[str, str], terminal: Terminal) -> None:
    environment = {**os.environ, "TERM": "xterm", **variables}
    with serving(BUSY):
        assert to_end(start("run", *words, "hi", stderr=terminal.slave, env=environment)).code == 0
    assert terminal.drain() == b""


def test_each_piece_is_visible_at_once() -> None:
    with serving(Script(text=["first", "second"], stop_at=1, hang=True)):
        process = start("run", "hi")
        assert process.stdout is not None
        assert process.stdout.read(5) == b"first"
        process.terminate()
        to_end(process)


def test_json_is_one_object_with_everything() -> None:
    with serving(Script(text=TEXT)):
        done = fireside("run", "--json", "--stats", "hi")
    assert done.code == 0
    answer = json.loads(done.out)
    assert list(answer) == ["text", "model", "finish_reason", "usage", "timings", "fireside", "conversation_id"]
    assert answer["text"] == "".join(TEXT)
    assert answer["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert answer["timings"]["predicted_n"] == len(TEXT)
    assert done.out.count(b"\n") == 1
    assert b"\x1b" not in done.out + done.err


def test_ndjson_is_an_event_in_each_line() -> None:
    script = Script(["<think>hm</think>", "a\x9b"], loading=[("reading", 0.5)], progress=[(10, 4, 8)])
    with serving(script):
        done = fireside("run", "--ndjson", "hi")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event.pop("event") for event in events] == ["loading", "progress", "text", "text", "done"]
    assert events[0] == {"model": "tiny", "step": "reading", "fraction": 0.5}
    assert (events[1]["cached"], events[1]["processed"], events[1]["total"]) == (4, 8, 10)
    assert (events[-1]["text"], events[-1]["reasoning"]) == ("a\x9b", "hm")
    assert b"\x9b" not in done.out
    assert done.err == b""


@pytest.mark.parametrize(
    ("words", "script", "code", "name"),
    [
        (["run", "--json", "hi"], failing("context_exceeded", 400, "Long.", n_ctx=8), 5, "context_exceeded"),
        (["run", "--json", "hi"], Script(text=["a"], stop_at=1, error=CRASH), 3, "worker_crashed"),
        (["run", "--json", "--wat"], Script(), 2, "usage"),
        (["run", "--json", "-m", "./no.gguf", "hi"], Script(), 4, "model_not_found"),
        (["run", "--json", "--timeout", "0.3", "hi"], Script(stop_at=0, hang=True), 124, "timeout"),
    ],
)
def test_errors_with_json_are_json_on_stderr(words: list[str], script: Script, code: int, name: str) -> None:
    with serving(script):
        done = fireside(*words)
    error = json.loads(done.err)["error"]
    assert (done.code, error["exit_code"], error["code"]) == (code, code, name)
    assert error["message"]
    assert done.out == b""


def test_what_was_asked_for_is_what_is_sent(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be brief.\n")
    (tmp_path / "answer.gbnf").write_text('root ::= "a"')
    words = (
        "run why -m Tiny -s @system.txt -t 0.5 is -n 9 --seed 3 --top-p 0.9 --top-k 5 --min-p 0.1 --stop END "
        "--stop ; --deterministic --keep-alive 5m --grammar answer.gbnf it -- -so?"
    )
    with serving() as engine:
        assert fireside(*words.split(), cwd=tmp_path).code == 0
    name = engine.asked["fireside"].pop("conversation")
    assert fireside("show", name).code == 0
    assert engine.asked == {
        "model": "Tiny",
        "messages": [{"role": "system", "content": "Be brief.\n"}, {"role": "user", "content": "why is it -so?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "stop": ["END", ";"],
        "keep_alive": "5m",
        "grammar": 'root ::= "a"',
        "fireside": {"deterministic": True, "save": True},
    }


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    with serving() as engine:
        fireside("run", "--no-save", "hi")
    assert len(engine.asked["fireside"].pop("conversation")) <= 128
    assert engine.asked == {
        "model": "",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "fireside": {"save": False},
    }


@pytest.mark.parametrize("name", ["schema.json", "@schema.json"])
def test_a_schema_may_lie_in_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    with serving(Script(text=["{}"])) as engine:
        assert fireside("run", "--schema", name, "hi", cwd=tmp_path).code == 0
    assert engine.asked["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_constraints_that_are_no_openai_travel_in_the_extension(tmp_path: Path) -> None:
    (tmp_path / "answer.lark").write_text("start: /a/")
    with serving() as engine:
        fireside("run", "--grammar", "answer.lark", "hi", cwd=tmp_path)
        fireside("run", "--regex", "[ab]+", "hi")
    assert [body["fireside"].get("lark") for _, body in engine.requests] == ["start: /a/", None]
    assert [body["fireside"].get("regex") for _, body in engine.requests] == [None, "[ab]+"]


def test_the_environment_names_the_default_model() -> None:
    with serving() as engine:
        fireside("run", "hi", env={**os.environ, "FIRESIDE_MODEL": "mine"})
        assert engine.asked["model"] == "mine"


def test_a_model_file_gets_a_name_first(tmp_path: Path) -> None:
    (tmp_path / "Small.gguf").write_bytes(b"GGUF")
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    with serving() as engine:
        assert fireside("run", "-m", "Small.gguf", "hi", cwd=tmp_path).code == 0
        assert engine.requests[0] == ("/fireside/register", {"path": str((tmp_path / "Small.gguf").resolve())})
        assert engine.asked["model"] == "small"
        done = fireside("run", "-m", str(tmp_path / "page.gguf"), "hi")
        assert (done.code, done.out) == (4, b"")
        assert done.err == b"fireside: page.gguf is no GGUF.\n  Use another.\n"
        done = fireside("run", "-m", f"{tmp_path}/", "hi")
        assert (done.code, b"Not a model file" in done.err) == (4, True)


def test_the_reader_may_have_closed_everything() -> None:
    with serving(Script(text=["a"])):
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$0" -m fireside run hi >&- 2>&- <&-', os.sys.executable], timeout=30, check=False
        )
    assert shell.returncode == 141
