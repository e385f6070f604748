"""From a file to a model that answers, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fireside_engine import address
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams, TextPrompt
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.errors import ContextExceeded, InvalidConstraint, InvalidRequest, ModelUnsupported, NotAModel
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.loading import Ready, load
from fireside_engine.worker.protocol import LoadOptions

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def ready(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(tmp_path_factory.mktemp("home")))
        loaded = load(smollm2, LoadOptions(n_ctx=1024, n_slots=2, deterministic=True), lambda stage, fraction: None)
    yield loaded
    loaded.close()


def chat(text: str, **more: object) -> Request:
    return Request("r", ChatPrompt((Message("user", text),)), SamplingParams(temperature=0), **more)  # type: ignore[arg-type]


def answer(ready: Ready, request: Request) -> str:
    scheduler, runner = Scheduler(ready.rules), LlamaRunner(ready.context)
    ready.context.clear()
    scheduler.submit(ready.preparer.prepare(request))
    text = ""
    while step := scheduler.schedule(0.0):
        for event in scheduler.drain() + scheduler.commit(step, runner.execute(step)):
            text += getattr(event, "text", "")
    return text


def test_what_is_loaded_is_told(ready: Ready) -> None:
    info = ready.info
    assert info.architecture == "llama"
    assert (info.n_ctx, info.n_slots, info.n_ctx_train) == (1024, 2, 8192)
    assert info.kv_type == "f16/bf16"
    assert info.has_template
    assert info.n_vocab == 49152
    assert info.memory > info.size > 90_000_000
    assert "llama-cpp-python" in info.build


def test_it_answers_as_a_bare_loop_does(ready: Ready) -> None:
    request = chat("Tell me about trees.", max_tokens=25)
    sequence, context = ready.preparer.prepare(request), ready.context
    context.clear()
    logits = context.logits
    last, at, pieces = context.add(0, 0, sequence.prompt, 1), len(sequence.prompt), b""
    for _ in range(25):
        assert context.decode() == 0
        token = int(logits(last).argmax())
        pieces += sequence.piece(token)
        last, at = context.add(0, at, np.array([token], np.int32), 1), at + 1
    context.decode()
    assert len(pieces) > 20
    assert answer(ready, request) == pieces.decode()


def test_stop_strings_and_limits(ready: Ready) -> None:
    whole = answer(ready, chat("Count from 1 to 10.", max_tokens=40))
    assert answer(ready, chat("Count from 1 to 10.", max_tokens=40, stop=("3",))) == whole.split("3")[0]
    assert answer(ready, chat("Count from 1 to 10.", max_tokens=1)) != ""
    assert answer(ready, chat("Count from 1 to 10.", max_tokens=0)) == ""


def test_a_constraint_holds(ready: Ready) -> None:
    constraint = Constraint("regex", "(yes|no), [a-z]{3,8}!")
    import re

    assert re.fullmatch("(yes|no), [a-z]{3,8}!", answer(ready, chat("Is water wet?", constraint=constraint)))


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(ready: Ready) -> None:
    with pytest.raises(ContextExceeded) as caught:
        ready.preparer.prepare(chat("word " * 5000))
    assert caught.value.details["n_ctx"] == 1024
    assert caught.value.details["n_prompt_tokens"] > 5000


def test_bad_requests_are_refused_in_words(ready: Ready) -> None:
    with pytest.raises(InvalidConstraint):
        ready.preparer.prepare(chat("x", constraint=Constraint("json_schema", '{"type": "nonsense"}')))
    with pytest.raises(InvalidRequest):
        ready.preparer.prepare(Request("r", TextPrompt("x"), SamplingParams(logit_bias=((10**6, 1.0),))))


def test_the_probe_is_kept(ready: Ready, smollm2: Path) -> None:
    stages: list[str] = []
    load(smollm2, LoadOptions(n_ctx=512, n_slots=1), lambda stage, fraction: stages.append(stage)).close()
    assert "probing" in stages
    assert list((address.cache_dir() / "probes").glob("*.json"))
    stages.clear()
    load(smollm2, LoadOptions(n_ctx=512, n_slots=1), lambda stage, fraction: stages.append(stage)).close()
    assert "probing" not in stages


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_damaged_files_are_refused_in_words(smollm2: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.gguf"
    if damage == "truncated":
        shutil.copy(smollm2, path)
        with path.open("r+b") as file:
            file.truncate(50_000_000)
    else:
        path.write_bytes(b"" if damage == "empty" else bytes(range(256)) * 400)
    with pytest.raises((NotAModel, ModelUnsupported)) as caught:
        load(path, LoadOptions(), lambda stage, fraction: None)
    assert "m.gguf" in str(caught.value)
