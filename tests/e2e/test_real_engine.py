"""A real model through real processes: what a user of the command line and of the API is promised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from fireside_engine import address
from real_engine import Done, RealEngine, ended, until

pytestmark = pytest.mark.model

MODEL = "small"
ASK = ("run", "-m", MODEL)
STEADY = (*ASK, "--deterministic")
PROMPTS = ("Why is the sky blue?", "Write a poem about rain.", "def fib(n):")
LONG = ("-n", "2000", "--regex", "[a-z ,\n]{3000,}", "Count from one to a thousand, one number per line.")
"""An answer that the model cannot end before a test has done what it wants."""


@pytest.fixture(scope="module")
def running(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """One engine for all tests here, with the model loaded in both ways and its sampler compiled."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("real")
        patch.setenv(address.HOME_VARIABLE, str(home))
        engine = RealEngine(home, **{MODEL: smollm2})
        try:
            for words in (ASK, STEADY):
                assert engine.cli(*words, "-n", "1", "Hi").code == 0
            yield engine
        finally:
            # The fixture of the last test has put its own home back by now.
            patch.setenv(address.HOME_VARIABLE, str(home))
            engine.stop()


@pytest.fixture
def engine(running: RealEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> RealEngine:
    monkeypatch.setenv(address.HOME_VARIABLE, str(running.home))
    return running


def refused(done: Done, code: int, *words: str) -> None:
    """It ended with this exit code and these words, and with nothing that only a programmer would read."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.startswith("fireside: ")
    for word in words:
        assert word in done.err


def at_once(*tasks: Callable[[], str]) -> list[str]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def api(engine: RealEngine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.client().endpoint.url}/v1", api_key="none", max_retries=0)


def is_idle(engine: RealEngine) -> bool:
    return all(model["active"] == model["waiting"] == 0 for model in engine.status()["models"])


# --- one answer -------------------------------------------------------------------------------------------------------


def test_an_answer_arrives_in_pieces_and_ends_with_one_newline(engine: RealEngine) -> None:
    process = engine.popen(*ASK, "-n", "40", "--seed", "1", PROMPTS[0])
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    pieces = list(iter(lambda: os.read(descriptor, 65536), b""))
    done = ended(process)
    assert (done.code, done.err) == (0, "")
    assert len(pieces) > 2
    text = b"".join(pieces).decode()
    assert text == engine.cli(*ASK, "-n", "40", "--seed", "1", "--json", PROMPTS[0]).json["text"] + "\n"
    assert "\x1b" not in text


def test_a_pipe_becomes_one_object_with_honest_numbers(engine: RealEngine) -> None:
    done = engine.cli(*ASK, "-n", "12", "--json", "Summarize", stdin="Cats sleep most of the day.\n")
    assert done.code == 0
    assert done.out.count("\n") == 1
    answer = done.json
    assert set(answer) == {"text", "model", "finish_reason", "usage", "timings", "fireside", "conversation_id"}
    assert answer["model"] == MODEL
    usage, timings = answer["usage"], answer["timings"]
    assert usage["completion_tokens"] == timings["predicted_n"] <= 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == timings["prompt_n"] + timings["cache_n"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == timings["cache_n"]
    assert 0 <= timings["draft_n_accepted"] <= timings["draft_n"]
    assert timings["predicted_per_second"] == pytest.approx(
        (timings["predicted_n"] - 1) * 1000 / timings["predicted_ms"], rel=0.15
    )
    assert {"route", "reason", "exact", "seed", "deterministic", "queue_ms", "load_ms"} <= set(answer["fireside"])


def test_stats_are_told_beside_the_answer(engine: RealEngine) -> None:
    done = engine.cli(*ASK, "-n", "5", "--stats", "Hi")
    assert done.code == 0
    assert "tokens/s" in done.err
    assert "tokens/s" not in done.out


# --- constrained output -----------------------------------------------------------------------------------------------


def _object(**properties: object) -> dict[str, object]:
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


TEXT, WHOLE, NUMBER, TRUTH = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
ADDRESS = _object(street=TEXT, number=WHOLE)
SHAPES: dict[str, tuple[object, Callable[[Any], bool]]] = {
    "flat": (
        _object(name=TEXT, age=WHOLE, tall=TRUTH),
        lambda v: [*map(type, v.values())] == [str, int, bool] and [*v] == ["name", "age", "tall"],
    ),
    "nested": (
        _object(person=_object(name=TEXT, home=ADDRESS)),
        lambda v: (
            [*v["person"]] == ["name", "home"]
            and isinstance(v["person"]["home"]["street"], str)
            and isinstance(v["person"]["home"]["number"], int)
        ),
    ),
    "enum": (
        _object(mood={"enum": ["sad", "glad", 3]}),
        lambda v: v["mood"] in ("sad", "glad", 3),
    ),
    "array": (
        {"type": "array", "items": _object(x=NUMBER), "minItems": 3, "maxItems": 4},
        lambda v: 3 <= len(v) <= 4 and all(isinstance(item["x"], int | float) for item in v),
    ),
    "bounded": (
        _object(score={"type": "integer", "minimum": 1, "maximum": 5}, share={"type": "number"}, ok=TRUTH),
        lambda v: 1 <= v["score"] <= 5 and isinstance(v["share"], int | float) and isinstance(v["ok"], bool),
    ),
    "choice": (
        {"anyOf": [_object(error=TEXT), {"type": "null"}]},
        lambda v: v is None or isinstance(v["error"], str),
    ),
    "pattern": (
        _object(day={"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
        lambda v: [len(part) for part in v["day"].split("-")] == [4, 2, 2],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_schema_is_always_kept(engine: RealEngine, shape: str) -> None:
    """At any temperature, and with hardly more tokens than the shortest valid answer has."""
    schema, holds = SHAPES[shape]
    for limit, seed, temperature in ((40, 1, "0.8"), (64, 2, "2"), (200, 3, "0")):
        done = engine.cli(
            *ASK, "-n", str(limit), "--seed", str(seed), "-t", temperature,
            "--schema", json.dumps(schema), "Describe somebody you know.",
        )  # fmt: skip
        assert done.code == 0, done
        assert holds(done.json), done.out


def test_a_schema_that_does_not_fit_the_limit_is_never_half_an_answer(engine: RealEngine) -> None:
    schema, _ = SHAPES["nested"]
    done = engine.cli(*ASK, "-n", "3", "--schema", json.dumps(schema), "Describe somebody.")
    assert done.code in (1, 2), done
    assert "Traceback" not in done.err
    assert done.err.startswith("fireside: ")


def test_a_schema_that_is_none_is_refused(engine: RealEngine) -> None:
    refused(engine.cli(*ASK, "--schema", '{"type": "objekt"}', "Hi"), 2, "objekt")
    refused(engine.cli(*ASK, "--schema", "{", "Hi"), 2)


# --- the same text ----------------------------------------------------------------------------------------------------


def told(engine: RealEngine, prompt: str, seed: int = 5, n: int = 32) -> str:
    """The text by the command line, exact."""
    done = engine.cli(*STEADY, "-t", "1", "--seed", str(seed), "-n", str(n), "--json", prompt)
    assert done.code == 0, done
    assert done.json["fireside"]["exact"] is True
    assert done.json["fireside"]["seed"] == seed
    return str(done.json["text"])


def asked(client: openai.OpenAI, prompt: str, seed: int = 5, n: int = 32) -> str:
    """The text by the API, exact."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        seed=seed,
        max_tokens=n,
        temperature=1,
        extra_body={"fireside": {"deterministic": True}},
    )
    return str(answer.choices[0].message.content)


def test_a_seed_gives_one_text_over_every_way_and_in_every_company(engine: RealEngine) -> None:
    with api(engine) as client:
        for number, prompt in enumerate(PROMPTS):
            alone = told(engine, prompt)
            assert asked(client, prompt) == alone
            in_company, *_ = at_once(
                partial(asked, client, prompt),
                partial(asked, client, PROMPTS[0] * 9, seed=100 + number, n=40),
                partial(asked, client, "Tell me about Oslo.", seed=200 + number, n=20),
                partial(told, engine, "Hello!", seed=300 + number, n=30),
            )
            assert in_company == alone
            assert asked(client, prompt, seed=6) != alone


def test_a_stream_of_the_api_says_the_same(engine: RealEngine) -> None:
    with api(engine) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": PROMPTS[0]}],
            seed=5,
            max_tokens=32,
            temperature=1,
            stream=True,
            extra_body={"fireside": {"deterministic": True}},
        )
        pieces = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
    assert "".join(pieces) == told(engine, PROMPTS[0])
    assert len(pieces) > 2


def test_four_streams_give_their_own_texts(engine: RealEngine) -> None:
    """How much faster four are than one is for tests/bench/same_text.py to say; here other load may take a core."""
    prompts = [f"Tell me about the number {word}." for word in ("one", "two", "three", "four")]
    with api(engine) as client:
        alone = [asked(client, prompt) for prompt in prompts]
        for _ in range(3):
            assert at_once(*(partial(asked, client, prompt) for prompt in prompts)) == alone


# --- what goes wrong --------------------------------------------------------------------------------------------------


def streaming(engine: RealEngine, *words: str, **options: Any) -> subprocess.Popen[str]:
    """A run whose first text has come."""
    process = engine.popen(*(words or (*ASK, *LONG)), **options)
    assert process.stdout is not None
    assert process.stdout.read(1)
    return process


def test_a_killed_worker_costs_its_own_request_only(engine: RealEngine) -> None:
    server = engine.status()["pid"]
    process = streaming(engine)
    worker = engine.worker(MODEL, deterministic=False)["pid"]
    os.kill(worker, signal.SIGKILL)
    done = ended(process)
    assert done.code == 3, done
    assert "Traceback" not in done.err
    assert "SIGKILL" in done.err
    assert "fireside: " in done.err
    after = engine.cli(*ASK, "-n", "3", "Hi")
    assert after.code == 0, after
    assert engine.status()["pid"] == server
    assert engine.worker(MODEL, deterministic=False)["pid"] != worker


def test_files_that_are_no_models_are_refused(engine: RealEngine, smollm2: Path, tmp_path: Path) -> None:
    text, half, head = (tmp_path / f"{name}.gguf" for name in ("text", "half", "head"))
    text.write_text("This is a letter, not a model.\n" * 100)
    with smollm2.open("rb") as model:
        content = model.read(40_000_000)
    half.write_bytes(content)
    head.write_bytes(content[:2000])
    for path in (text, half, head):
        refused(engine.cli("run", "-m", str(path), "Hi"), 4, path.name)
    refused(engine.cli("run", "-m", str(tmp_path / "none.gguf"), "Hi"), 4, "none.gguf")
    refused(engine.cli("run", "-m", "unheard-of", "Hi"), 4, "unheard-of")


def test_a_prompt_that_does_not_fit_is_refused_with_both_sizes(engine: RealEngine, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("The quick brown fox jumps over the lazy dog. " * 10_000)
    for words in ((), ("--json",)):
        done = engine.cli(*ASK, *words, "-f", str(book), "Summarize.")
        assert done.code == 5, done
        assert "Traceback" not in done.err
        assert done.out == ""
    error = json.loads(done.err)["error"]
    assert error["n_prompt_tokens"] > 100_000
    assert error["n_ctx"] == 8192


def test_wrong_usage_is_told(engine: RealEngine) -> None:
    done = engine.cli("run", "--unheard-of", "Hi")
    assert done.code == 2
    assert "--unheard-of" in done.err
    assert "Traceback" not in done.err
    refused(engine.cli(*ASK, "-t", "-3", "Hi"), 2, "temperature")


def test_ctrl_c_frees_the_slot(engine: RealEngine) -> None:
    process = streaming(engine)
    assert not is_idle(engine)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert (done.code, done.err) == (130, "")
    until(lambda: is_idle(engine), 5)


def test_a_reader_that_leaves_frees_the_slot(engine: RealEngine) -> None:
    process = engine.popen(*ASK, *LONG)
    head = subprocess.run(["head", "-c", "5"], stdin=process.stdout, capture_output=True, timeout=60, check=True)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert len(head.stdout) == 5
    done = ended(process)
    assert (done.code, done.err) == (141, "")
    until(lambda: is_idle(engine), 5)


def test_streams_that_are_cut_off_do_not_disturb_another(engine: RealEngine) -> None:
    """Slots that empty in the middle of a batch."""
    alone = told(engine, PROMPTS[1])
    cut = [engine.popen(*STEADY, *LONG) for _ in range(3)]
    for process in cut:
        assert process.stdout is not None
        assert process.stdout.read(1)
    texts: list[str] = []
    survivor = threading.Thread(target=lambda: texts.append(told(engine, PROMPTS[1])))
    survivor.start()
    for process in cut:
        process.send_signal(signal.SIGINT)
        assert ended(process).code == 130
    survivor.join(60)
    assert texts == [alone]
    until(lambda: is_idle(engine), 5)


# --- processes --------------------------------------------------------------------------------------------------------


def test_two_that_start_at_once_share_an_engine_and_stop_leaves_nothing(home: Path, smollm2: Path) -> None:
    engine = RealEngine(home, **{MODEL: smollm2})
    try:
        both = [engine.popen(*ASK, "-n", "2", "--seed", "1", "Hi") for _ in range(2)]
        first, second = map(ended, both)
        assert first.code == second.code == 0, (first, second)
        assert first.out == second.out
        assert sorted(_roles(engine.processes())) == ["server", "worker"]
        assert engine.cli("stop", "--all").out == f"{MODEL} is unloaded.\n"
        until(lambda: _roles(engine.processes()) == ["server"], 10)
    finally:
        engine.stop()
    assert engine.cli("stop").out == "No engine runs.\n"


def _roles(processes: list[psutil.Process]) -> list[str]:
    """Servers and workers among them; helpers of a worker, such as its compiler, leave with it."""
    modules = {"fireside_engine.server": "server", "fireside_engine.worker": "worker"}
    return [role for process in processes for module, role in modules.items() if module in process.cmdline()]
