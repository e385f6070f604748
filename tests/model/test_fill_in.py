"""A real model fills in the middle, and answers questions about its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fireside_engine.core.events import Started
from fireside_engine.core.request import ChatPrompt, FillPrompt, Message, Request, SamplingParams, TokensPrompt
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.errors import InvalidRequest, NotSupported
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.loading import Ready, load
from fireside_engine.worker.protocol import LoadOptions
from fireside_engine.worker.questions import Count, Describe, Detokenize, Render, Tokenize

pytestmark = pytest.mark.model

BEFORE = "def add(a, b):\n    return "
AFTER = "\n\nprint(add(1, 2))\n"


@pytest.fixture(scope="module")
def coder(qwen_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(tmp_path_factory.mktemp("home")))
        ready = load(qwen_small, LoadOptions(n_ctx=2048, n_slots=2), lambda stage, fraction: None)
    yield ready
    ready.close()


def fill(prefix: str, suffix: str, n: int = 8) -> Request:
    return Request(prefix[-9:], FillPrompt(prefix, suffix), SamplingParams(temperature=0), max_tokens=n)


def run(ready: Ready, scheduler: Scheduler, request: Request) -> tuple[str, Started]:
    scheduler.submit(ready.preparer.prepare(request))
    runner, text, started = LlamaRunner(ready.context), "", None
    while step := scheduler.schedule(0.0):
        for event in scheduler.drain() + scheduler.commit(step, runner.execute(step)):
            text += getattr(event, "text", "")
            started = event if isinstance(event, Started) else started
    assert started is not None
    return text, started


def test_what_is_missing_is_filled_in(coder: Ready) -> None:
    text, _ = run(coder, Scheduler(coder.rules), fill(BEFORE, AFTER))
    assert text.startswith("a + b")


def test_while_somebody_types_the_file_before_the_cursor_stays_cached(coder: Ready) -> None:
    coder.context.clear()
    scheduler = Scheduler(coder.rules)
    top = "".join(f"x{i} = {i}\n" for i in range(100))
    run(coder, scheduler, fill(top, AFTER, 1))
    for end in range(1, 6):
        _, started = run(coder, scheduler, fill(top + BEFORE[:end], AFTER, 1))
        # What is computed is the tail: from the last cut on, and what stands after the cursor.
        assert started.n_prompt - started.n_cached <= 2 * 64 + 32


def test_a_model_without_the_tokens_says_so(gemma: Path, tmp_path: Path) -> None:
    ready = load(gemma, LoadOptions(n_ctx=256, n_slots=1), lambda stage, fraction: None)
    try:
        assert not ready.info.fill
        with pytest.raises(NotSupported):
            ready.preparer.prepare(fill(BEFORE, AFTER))
    finally:
        ready.close()


def test_questions_are_answered(coder: Ready) -> None:
    ask = coder.desk.answer
    described = ask(Describe())
    assert described["fill"]
    assert "tools" in described["template"]
    tokens = ask(Tokenize("Grüße <|im_end|>"))
    assert "".join(piece if isinstance(piece, str) else "" for piece in tokens["pieces"]) == "Grüße <|im_end|>"
    assert ask(Detokenize(tuple(tokens["tokens"]))) == {"text": "Grüße <|im_end|>"}
    assert ask(Count(TokensPrompt(("a b", (1, 2))))) == {"n": 4}
    chat = ChatPrompt((Message("user", "Hi"),))
    assert ask(Render(chat))["text"].endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    for bad in ((-1,), (10**6,)):
        with pytest.raises(InvalidRequest):
            ask(Detokenize(bad))
        with pytest.raises(InvalidRequest):
            coder.preparer.prepare(Request("r", TokensPrompt((bad,))))
